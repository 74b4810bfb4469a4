//! AI helpers: one provider behind a trait, spoken to over the OpenAI-compatible HTTP protocol.
//!
//! What a provider answers is somebody else's word: its size is capped before it is read, and an answer that is not
//! what was asked for is an error, never passed on.
//!
//! # Source
//! Wire contract 03 section 7; OpenAI's API reference for `/images/generations`, `/chat/completions` and
//! `/moderations`.

mod http;
mod language;
mod openai;
mod png;

use std::collections::BTreeMap;
use std::str::FromStr;

use unicode_segmentation::UnicodeSegmentation;

pub use language::{BadLanguage, Language};
pub use openai::{OpenAi, OpenAiConfig, SIZES};
pub use png::Png;

/// The shape of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// 1:1
    Square,
    /// 16:9
    Landscape,
    /// 9:16
    Portrait,
}

impl Aspect {
    pub const ALL: [Self; 3] = [Self::Square, Self::Landscape, Self::Portrait];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Square => "square",
            Self::Landscape => "landscape",
            Self::Portrait => "portrait",
        }
    }
}

/// A word that names no aspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected square, landscape or portrait")]
pub struct BadAspect;

impl FromStr for Aspect {
    type Err = BadAspect;

    fn from_str(text: &str) -> Result<Self, BadAspect> {
        Self::ALL.into_iter().find(|aspect| aspect.as_str() == text).ok_or(BadAspect)
    }
}

/// A text to translate.
#[derive(Debug, Clone, Copy)]
pub struct ToTranslate<'a> {
    pub text: &'a str,
    pub to: Language,
    /// Found out by the provider when absent.
    pub from: Option<Language>,
    /// What the reader should know about tone or register.
    pub context: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    pub text: String,
    /// Given, or found out.
    pub from: Language,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Moderated {
    pub flagged: bool,
    /// The provider's own categories.
    pub categories: BTreeMap<String, bool>,
    /// From 0 to 1.
    pub scores: BTreeMap<String, f64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AiError {
    /// It refuses this very request, so another try is refused as well; the words are the provider's.
    #[error("the provider refuses the request: {0}")]
    Refused(String),
    /// It is busy, fails, or cannot be reached.
    #[error("the provider does not answer: {0}")]
    Unavailable(String),
    /// It answered, and not what was asked for.
    #[error("the provider's answer is not usable: {0}")]
    Garbage(&'static str),
}

impl AiError {
    /// The same request may succeed later.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// Whoever makes images and reads texts. Each call ends by itself within the provider's deadline.
#[async_trait::async_trait]
pub trait Provider: Send + Sync + 'static {
    /// # Errors
    /// [`AiError`]; nothing is kept of a call that failed.
    async fn image(&self, prompt: &str, aspect: Aspect) -> Result<Png, AiError>;

    /// # Errors
    /// [`AiError`].
    async fn translate(&self, asked: ToTranslate<'_>) -> Result<Translated, AiError>;

    /// # Errors
    /// [`AiError`].
    async fn moderate(&self, text: &str) -> Result<Moderated, AiError>;
}

/// Words as Unicode's word boundaries tell them apart: what translation is metered in.
///
/// # Source
/// Wire contract 03, open question 15; Unicode Standard Annex 29.
pub fn words(text: &str) -> i64 {
    i64::try_from(text.unicode_words().count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_in_every_script() {
        for (text, count) in [
            ("", 0),
            (" \n\t", 0),
            ("...!?", 0),
            ("Hello, world!", 2),
            ("can't won't", 2),
            ("Grüße aus Köln", 3),
            ("привет мир", 2),
            ("3.14 is pi", 3),
            ("日本語", 3),
        ] {
            assert_eq!(words(text), count, "{text:?}");
        }
    }

    #[test]
    fn an_aspect_reads_what_it_shows() {
        for aspect in Aspect::ALL {
            assert_eq!(aspect.as_str().parse(), Ok(aspect));
        }
        assert_eq!("Square".parse::<Aspect>(), Err(BadAspect));
    }
}
