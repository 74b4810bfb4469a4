//! The `Prefer` header.
//!
//! # Source
//! <https://docs.postgrest.org/en/v13/references/api/preferences.html>

use super::error::RestError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Merge,
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    Minimal,
    HeadersOnly,
    Representation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Exact,
    Planned,
    Estimated,
}

/// What a client prefers. Of several values of one preference the first counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefer {
    pub resolution: Option<Resolution>,
    pub returns: Option<Return>,
    pub count: Option<Count>,
    /// `missing=default` is true, `missing=null` false.
    pub missing_default: Option<bool>,
    /// `handling=strict` is true, `handling=lenient` false.
    pub strict: Option<bool>,
    /// `tx=rollback` is true, `tx=commit` false.
    pub rollback: Option<bool>,
    pub max_affected: Option<i64>,
    pub timezone: Option<String>,
    /// What was not understood.
    pub invalid: Vec<String>,
}

impl Prefer {
    /// Reads every `Prefer` header of a request.
    pub fn read<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        let mut out = Self::default();
        for word in
            headers.flat_map(|header| header.split(',')).map(str::trim).filter(|word| !word.is_empty())
        {
            if !out.takes(word) {
                out.invalid.push(word.to_owned());
            }
        }
        out
    }

    fn takes(&mut self, word: &str) -> bool {
        let Some((name, value)) = word.split_once('=') else { return false };
        match (name, value) {
            ("resolution", "merge-duplicates") => first(&mut self.resolution, Resolution::Merge),
            ("resolution", "ignore-duplicates") => first(&mut self.resolution, Resolution::Ignore),
            ("return", "minimal") => first(&mut self.returns, Return::Minimal),
            ("return", "headers-only") => first(&mut self.returns, Return::HeadersOnly),
            ("return", "representation") => first(&mut self.returns, Return::Representation),
            ("count", "exact") => first(&mut self.count, Count::Exact),
            ("count", "planned") => first(&mut self.count, Count::Planned),
            ("count", "estimated") => first(&mut self.count, Count::Estimated),
            ("missing", "default") => first(&mut self.missing_default, true),
            ("missing", "null") => first(&mut self.missing_default, false),
            ("handling", "strict") => first(&mut self.strict, true),
            ("handling", "lenient") => first(&mut self.strict, false),
            ("tx", "rollback") => first(&mut self.rollback, true),
            ("tx", "commit") => first(&mut self.rollback, false),
            ("timezone", zone) if is_zone(zone) => first(&mut self.timezone, zone.to_owned()),
            ("max-affected", number) => match number.parse() {
                Ok(number) => first(&mut self.max_affected, number),
                Err(_) => false,
            },
            _ => false,
        }
    }

    /// # Errors
    /// `PGRST122` when the client insists on preferences that are none.
    pub fn check(&self) -> Result<(), RestError> {
        if self.strict != Some(true) || self.invalid.is_empty() {
            return Ok(());
        }
        Err(RestError::new(400, "PGRST122", "Invalid preferences given with handling=strict")
            .details(format!("Invalid preferences: {}", self.invalid.join(", "))))
    }

    pub fn max_affected(&self) -> Option<i64> {
        self.max_affected.filter(|_| self.strict == Some(true))
    }

    /// The `Preference-Applied` header. `changes`: the request changes rows; `inserts`: it may add some.
    pub fn applied(&self, changes: bool, inserts: bool) -> Option<String> {
        let mut out = Vec::new();
        let mut add = |text: Option<&str>| out.extend(text.map(str::to_owned));
        if inserts {
            add(self.resolution.map(|one| match one {
                Resolution::Merge => "resolution=merge-duplicates",
                Resolution::Ignore => "resolution=ignore-duplicates",
            }));
        }
        if changes {
            add(self.missing_default.map(|yes| if yes { "missing=default" } else { "missing=null" }));
            add(self.returns.map(|one| match one {
                Return::Minimal => "return=minimal",
                Return::HeadersOnly => "return=headers-only",
                Return::Representation => "return=representation",
            }));
        }
        add(self.count.map(|one| match one {
            Count::Exact => "count=exact",
            Count::Planned => "count=planned",
            Count::Estimated => "count=estimated",
        }));
        add(self.rollback.map(|yes| if yes { "tx=rollback" } else { "tx=commit" }));
        add(self.strict.map(|yes| if yes { "handling=strict" } else { "handling=lenient" }));
        add(self.timezone.as_ref().map(|zone| format!("timezone={zone}")).as_deref());
        add(self.max_affected().map(|n| format!("max-affected={n}")).as_deref());
        (!out.is_empty()).then(|| out.join(", "))
    }
}

fn first<T>(place: &mut Option<T>, value: T) -> bool {
    place.get_or_insert(value);
    true
}

/// Could be the name of a time zone; whether it is one the server says.
fn is_zone(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_of_several_headers_add_up_and_the_first_counts() {
        let prefer =
            Prefer::read(["return=representation, count=exact", "return=minimal,max-affected=5"].into_iter());
        assert_eq!(prefer.returns, Some(Return::Representation));
        assert_eq!((prefer.count, prefer.max_affected), (Some(Count::Exact), Some(5)));
        assert_eq!(prefer.max_affected(), None, "only under handling=strict");
        assert_eq!(prefer.applied(true, true).as_deref(), Some("return=representation, count=exact"));
        assert_eq!(prefer.applied(false, false).as_deref(), Some("count=exact"));
    }

    #[test]
    fn strict_handling_refuses_what_is_no_preference() {
        let prefer =
            Prefer::read(["handling=strict, anything, tx=rollback, timezone=Europe/Rome"].into_iter());
        let error = prefer.check().unwrap_err();
        assert_eq!(
            (error.code.as_str(), &error.details),
            ("PGRST122", &"Invalid preferences: anything".into())
        );
        assert!(Prefer::read(["anything"].into_iter()).check().is_ok());
    }
}
