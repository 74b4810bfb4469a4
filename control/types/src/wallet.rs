//! A wallet address, compared and shown in lower case.

use std::{fmt, str::FromStr};

/// 20 bytes, shown as `0x` and 40 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wallet(pub [u8; 20]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a wallet address: expected 0x and 40 hex digits")]
pub struct BadWallet;

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Wallet {
    type Err = BadWallet;

    /// Accepts any letter case; checksums are the signer's business.
    fn from_str(text: &str) -> Result<Self, BadWallet> {
        let hex = text.strip_prefix("0x").ok_or(BadWallet)?.as_bytes();
        if hex.len() != 40 || !hex.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadWallet);
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadWallet)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadWallet)?;
        }
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Wallet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Wallet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_comes_in_and_lower_case_goes_out() {
        let mixed: Wallet = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
        assert_eq!(mixed.to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        for bad in [
            "",
            "0x",
            "f39f",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226g",
            "0x+39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        ] {
            assert_eq!(bad.parse::<Wallet>(), Err(BadWallet), "{bad:?}");
        }
    }
}
