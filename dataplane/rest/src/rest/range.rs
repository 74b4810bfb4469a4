//! Which rows of a result are asked for, and what is said about those that came.

use super::error::RestError;
use super::parse::Limits;

/// `limit` is `None` for all the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowRange {
    pub offset: i64,
    pub limit: Option<i64>,
}

impl RowRange {
    /// # Errors
    /// `PGRST103` for a negative limit.
    pub fn of(limits: Limits) -> Result<Self, RestError> {
        if limits.limit.is_some_and(|limit| limit < 0) {
            return Err(RestError::range("Limit should be greater than or equal to zero."));
        }
        Ok(Self { offset: limits.offset.unwrap_or(0), limit: limits.limit })
    }

    /// Both the parameters and the `Range` header.
    ///
    /// # Errors
    /// `PGRST103` when the header's end lies before its start.
    pub fn with_header(self, header: Option<&str>) -> Result<Self, RestError> {
        let Some((from, to)) =
            header.and_then(|text| text.trim().trim_start_matches("items=").split_once('-'))
        else {
            return Ok(self);
        };
        let Ok(from) = from.trim().parse::<i64>() else { return Ok(self) };
        let to = to.trim().parse::<i64>().ok();
        if to.is_some_and(|to| to < from) {
            let why =
                "The lower boundary must be lower than or equal to the upper boundary in the Range header.";
            return Err(RestError::range(why));
        }
        let offset = self.offset.max(from);
        let ends =
            [self.limit.map(|limit| self.offset.saturating_add(limit)), to.map(|to| to.saturating_add(1))];
        let end = ends.into_iter().flatten().min();
        Ok(Self { offset, limit: end.map(|end| (end - offset).max(0)) })
    }
}

/// Status and `Content-Range` of a read. `total` when it was counted.
///
/// # Errors
/// `PGRST103` when the first row lies behind the last.
pub fn content_range(range: RowRange, rows: i64, total: Option<i64>) -> Result<(u16, String), RestError> {
    if let Some(total) = total
        && range.offset > total
        && range.offset > 0
    {
        let (lower, there) = (range.offset, total);
        let why = format!("An offset of {lower} was requested, but there are only {there} rows.");
        let mut error = RestError::range(why);
        error.headers.push(("content-range".to_owned(), format!("*/{there}")));
        return Err(error);
    }
    let all = total.map_or("*".to_owned(), |total| total.to_string());
    let text = if rows == 0 {
        format!("*/{all}")
    } else {
        format!("{}-{}/{all}", range.offset, range.offset + rows - 1)
    };
    let partial = total.is_some_and(|total| rows < total);
    Ok((if partial { 206 } else { 200 }, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: i64, limit: Option<i64>) -> RowRange {
        RowRange { offset, limit }
    }

    #[test]
    fn the_header_and_the_parameters_are_both_kept() {
        let all = RowRange::default();
        assert_eq!(all.with_header(Some("0-9")).unwrap(), range(0, Some(10)));
        assert_eq!(all.with_header(Some("5-")).unwrap(), range(5, None));
        assert_eq!(range(2, Some(10)).with_header(Some("0-4")).unwrap(), range(2, Some(3)));
        assert!(all.with_header(Some("9-0")).is_err());
        assert!(RowRange::of(Limits { limit: Some(-1), offset: None }).is_err());
    }

    #[test]
    fn what_came_is_told_as_a_range() {
        assert_eq!(content_range(range(0, None), 3, None).unwrap(), (200, "0-2/*".to_owned()));
        assert_eq!(content_range(range(0, Some(2)), 2, Some(5)).unwrap(), (206, "0-1/5".to_owned()));
        assert_eq!(content_range(range(0, None), 5, Some(5)).unwrap(), (200, "0-4/5".to_owned()));
        assert_eq!(content_range(range(0, None), 0, Some(0)).unwrap(), (200, "*/0".to_owned()));
        let error = content_range(range(9, None), 0, Some(5)).unwrap_err();
        assert_eq!((error.status, error.headers[0].1.as_str()), (416, "*/5"));
    }
}
