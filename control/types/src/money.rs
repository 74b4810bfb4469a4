//! Money is an integer number of USD micros; one is one USDC base unit. No floats, no rounding.

use std::fmt;

/// Millionths of a US dollar. One USDC base unit is 1, one cent is 10,000.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct UsdMicros(pub i64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("the amount is not a plain decimal number of base units")]
    NotDecimal,
    #[error("the amount is too large")]
    Overflow,
}

impl UsdMicros {
    pub const ZERO: Self = Self(0);

    /// # Errors
    /// `Overflow` beyond 64 bits.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    /// # Errors
    /// `Overflow` beyond 64 bits.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_sub(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    /// Reads the decimal string of base units that x402 carries: digits only, no sign, exponent, space or
    /// leading zero.
    ///
    /// # Errors
    /// `NotDecimal` for any other spelling, `Overflow` past 2^63.
    pub fn from_base_units(text: &str) -> Result<Self, MoneyError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || (text.len() > 1 && text.starts_with('0')) {
            return Err(MoneyError::NotDecimal);
        }
        text.parse().map(Self).map_err(|_| MoneyError::Overflow)
    }

    /// `"$0.10"`: whole cents when the amount allows, otherwise all six digits.
    pub fn dollars(self) -> String {
        let (sign, abs) = if self.0 < 0 { ("-", self.0.unsigned_abs()) } else { ("", self.0.unsigned_abs()) };
        let (whole, rest) = (abs / 1_000_000, abs % 1_000_000);
        if rest.is_multiple_of(10_000) {
            format!("{sign}${whole}.{:02}", rest / 10_000)
        } else {
            format!("{sign}${whole}.{rest:06}")
        }
    }
}

impl fmt::Display for UsdMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A22: amounts are exact or refused.
    #[test]
    fn odd_spellings_of_an_amount_are_refused() {
        for bad in ["", "1e6", "0x10", "01", "-1", "1.0", " 10", "10 ", "+1", "१"] {
            assert_eq!(UsdMicros::from_base_units(bad), Err(MoneyError::NotDecimal), "{bad:?}");
        }
        for big in ["9223372036854775808".to_owned(), "1".repeat(80)] {
            assert_eq!(UsdMicros::from_base_units(&big), Err(MoneyError::Overflow), "{big:?}");
        }
        assert_eq!(UsdMicros::from_base_units("100000"), Ok(UsdMicros(100_000)));
        assert_eq!(UsdMicros::from_base_units("0"), Ok(UsdMicros::ZERO));
    }

    #[test]
    fn dollars_show_cents_or_every_digit() {
        assert_eq!(UsdMicros(100_000).dollars(), "$0.10");
        assert_eq!(UsdMicros(5).dollars(), "$0.000005");
        assert_eq!(UsdMicros(-20_000_000).dollars(), "-$20.00");
    }
}
