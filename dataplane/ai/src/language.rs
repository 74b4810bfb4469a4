//! Two-letter names of languages.

use std::str::FromStr;

/// Every code of ISO 639-1, in order.
const CODES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy \
    da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu \
    hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb \
    lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om \
    or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw \
    ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

/// An ISO 639-1 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language([u8; 2]);

/// A text that is no code of ISO 639-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 639-1 code such as en")]
pub struct BadLanguage;

impl Language {
    pub fn as_str(&self) -> &str {
        // Made from two ASCII letters.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = BadLanguage;

    /// Takes either case.
    fn from_str(text: &str) -> Result<Self, BadLanguage> {
        let lower = text.to_ascii_lowercase();
        let known = CODES.split_whitespace().any(|code| code == lower);
        let code: [u8; 2] = lower.as_bytes().try_into().map_err(|_| BadLanguage)?;
        if known { Ok(Self(code)) } else { Err(BadLanguage) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_or_refused() {
        for good in ["en", "EN", "de", "zh", "aa", "zu"] {
            assert_eq!(good.parse::<Language>().unwrap().as_str(), good.to_lowercase());
        }
        for bad in ["", "e", "english", "xx", "e n", "en-US", "ÄÖ"] {
            assert_eq!(bad.parse::<Language>(), Err(BadLanguage), "{bad}");
        }
        assert_eq!(CODES.split_whitespace().count(), 184);
    }
}
