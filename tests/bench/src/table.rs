//! The one way in which benches print.

/// Rows of figures, ours beside another's.
pub struct Table {
    rows: Vec<[String; 7]>,
}

impl Table {
    /// Prints the machine's load first: figures of a busy machine are not figures of ours alone.
    pub fn new(bench: &str) -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!("bench {bench}: {cores} cores, load before it (1 and 5 min): {load}");
        let head = ["what", "unit", "ours", "beside it", "its figure", "ours/its", "p50 / p99"];
        Self { rows: vec![head.map(str::to_owned)] }
    }

    /// A rate, higher is better, beside a peer's or a limit's.
    pub fn rate(&mut self, what: &str, unit: &str, ours: f64, beside: Option<(&str, f64)>, latency: &str) {
        let (name, figure, ratio) = match beside {
            Some((name, figure)) => (name, number(figure), format!("{:.2}", ours / figure)),
            None => ("", String::new(), String::new()),
        };
        self.row([what, unit, &number(ours), name, &figure, &ratio, latency]);
    }

    pub fn row(&mut self, cells: [&str; 7]) {
        self.rows.push(cells.map(str::to_owned));
    }

    /// Prints the rows, and what limits them.
    pub fn finish(self, limits: &str) {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or_default()).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                2 | 4 | 5 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        println!("limited by: {limits}");
    }
}

/// Three or four digits that matter, thousands apart.
fn number(figure: f64) -> String {
    if figure < 100.0 {
        return format!("{figure:.2}");
    }
    let digits = format!("{figure:.0}");
    let mut spaced = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    spaced
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_apart() {
        assert_eq!(["1.25", "999", "1,000", "26,761"], [1.25, 999.0, 1000.0, 26_761.0].map(super::number));
        assert_eq!(super::number(1_234_567.0), "1,234,567");
    }
}
