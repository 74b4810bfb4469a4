//! `[ai]`: the provider of images, translation and moderation.

use std::time::Duration;

use ai::{OpenAiConfig, SIZES};
use secrecy::SecretString;

use super::google::is_issuer;
use super::reader::Section;

const TIMEOUT_SECS: u64 = 50;
const TRANSLATED_WORDS: u64 = 10_000;

#[derive(Debug, Clone)]
pub struct AiConfig {
    pub provider: OpenAiConfig,
    /// A month and a project, with the translation add-on.
    pub translated_words: i64,
}

impl AiConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let url = "the address above /chat/completions: https://, or http:// on this machine alone";
        let sizes = "three sizes such as 1024x1024: of square, landscape and portrait images";
        let base_url = s.required::<String>("base_url", url);
        let api_key = s.optional::<SecretString>("api_key", "the provider's key");
        let image_model = s.required::<String>("image_model", "the name of a model that makes images");
        let text_model = s.required::<String>("text_model", "the name of a model that translates");
        let moderation_model = s.required::<String>("moderation_model", "the name of a model that moderates");
        let image_sizes = s.or("image_sizes", SIZES.map(str::to_owned).to_vec(), sizes);
        let timeout = s.or("timeout_secs", TIMEOUT_SECS, "1 to 600");
        let words = s.or("translated_words", TRANSLATED_WORDS, "a number of words");
        s.check(base_url.as_deref().is_none_or(is_issuer), "base_url", || url.to_owned());
        let three =
            image_sizes.as_ref().is_none_or(|all| all.len() == 3 && all.iter().all(|one| is_size(one)));
        s.check(three, "image_sizes", || sizes.to_owned());
        s.check(timeout.is_none_or(|n| (1..=600).contains(&n)), "timeout_secs", || "1 to 600".to_owned());
        s.finish();
        let provider = OpenAiConfig {
            base_url: base_url?,
            api_key: api_key?,
            image_model: image_model?,
            text_model: text_model?,
            moderation_model: moderation_model?,
            image_sizes: image_sizes?.try_into().ok()?,
            timeout: Duration::from_secs(timeout?),
        };
        Some(Self { provider, translated_words: i64::try_from(words?).unwrap_or(i64::MAX) })
    }

    /// A stand-in or a local provider whose models have these names.
    pub fn at(base_url: &str, api_key: Option<SecretString>) -> Self {
        let provider = OpenAiConfig {
            base_url: base_url.to_owned(),
            api_key,
            image_model: "image".to_owned(),
            text_model: "text".to_owned(),
            moderation_model: "moderation".to_owned(),
            image_sizes: SIZES.map(str::to_owned),
            timeout: Duration::from_secs(TIMEOUT_SECS),
        };
        Self { provider, translated_words: i64::try_from(TRANSLATED_WORDS).unwrap_or(i64::MAX) }
    }
}

fn is_size(text: &str) -> bool {
    let side = |side: &str| side.parse::<u32>().is_ok_and(|side| (1..=16_384).contains(&side));
    text.split_once('x').is_some_and(|(width, height)| side(width) && side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_sides() {
        assert!(SIZES.into_iter().all(is_size));
        assert!(["", "1024", "0x10", "10x", "axb", "10x20x30"].into_iter().all(|bad| !is_size(bad)));
    }
}
