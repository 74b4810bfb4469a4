//! AI helpers that cost nothing by themselves: translation, metered in words, and moderation.

use actors::AiDeps;
use ai::{AiError, Language, Moderated, ToTranslate};
use chrono::{DateTime, Utc};
use store::ai_words::{Usage, translation_set, translation_usage, words_give_back, words_take};
use types::{Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

/// # Source
/// Wire contract 03 section 7.1.
const TEXT_CHARS_MAX: usize = 10_000;
const CONTEXT_CHARS_MAX: usize = 200;

/// A text to translate, as it was sent.
#[derive(Debug, Clone)]
pub struct TranslateAsked {
    pub text: String,
    pub to: String,
    pub from: Option<String>,
    pub context: Option<String>,
}

#[derive(Debug, Clone)]
pub struct TranslateDone {
    pub text: String,
    pub from: Language,
    pub to: Language,
}

/// Words of this month.
#[derive(Debug, Clone, Copy)]
pub struct AiUsage {
    pub active: bool,
    pub used_words: i64,
    /// Zero without the add-on.
    pub included_words: i64,
    pub since: DateTime<Utc>,
}

impl Plane {
    /// # Errors
    /// `AI_PROVIDER_NOT_CONFIGURED`.
    pub(crate) fn ai(&self) -> Result<&AiDeps, Problem> {
        let missing = || Problem::new(Code::AiProviderNotConfigured, "this server has no AI provider");
        self.deps().ai.as_ref().ok_or_else(missing)
    }

    /// Translates a text. Its words count against the month before the provider is asked, and are given back when it
    /// fails; a server that dies in between keeps them counted.
    ///
    /// # Errors
    /// `AI_PROVIDER_NOT_CONFIGURED`, `BAD_REQUEST`, as [`Plane::project_key`], `FORBIDDEN`, `ADDON_REQUIRED`,
    /// `QUOTA_EXCEEDED`, `AI_PROVIDER_FAILED`, `AI_REQUEST_REFUSED`.
    ///
    /// # Source
    /// Wire contract 03 section 7.1; open questions 1 and 15.
    pub async fn ai_translate(
        &self,
        caller: &Caller,
        asked: &TranslateAsked,
    ) -> Result<TranslateDone, Problem> {
        let project = self.service_project(caller).await?;
        self.data_call(project).await?;
        let ai = self.ai()?;
        let to = language("to", &asked.to)?;
        let from = asked.from.as_deref().map(|from| language("from", from)).transpose()?;
        bounded("text", &asked.text, TEXT_CHARS_MAX)?;
        if let Some(context) = &asked.context {
            bounded("context", context, CONTEXT_CHARS_MAX)?;
        }
        let (now, words) = (self.now(), ai::words(&asked.text));
        self.words_taken(project, words, now).await?;
        let text = ToTranslate { text: &asked.text, to, from, context: asked.context.as_deref() };
        match ai.provider.translate(text).await {
            Ok(done) => Ok(TranslateDone { text: done.text, from: done.from, to }),
            Err(e) => {
                let back = words_give_back(&self.deps().store, (project, words), now).await;
                back.map_err(store_problem)?;
                Err(provider_problem(&e))
            }
        }
    }

    async fn words_taken(&self, project: ProjectId, words: i64, now: DateTime<Utc>) -> Result<(), Problem> {
        let usage = self.ai_usage_of(project, now).await?;
        if !usage.active {
            let message = "the project has not switched the translation add-on on";
            return Err(Problem::new(Code::AddonRequired, message).detail("addon", "translation"));
        }
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let taken = words_take(&mut tx, (project, words), usage.included_words, now).await;
        if taken.map_err(store_problem)? {
            return tx.commit().await.map_err(store_problem);
        }
        Err(Problem::new(Code::QuotaExceeded, "the words of this month are used up")
            .hint("Translate less, or wait until the next month begins (UTC).")
            .detail("used_words", usage.used_words)
            .detail("included_words", usage.included_words)
            .detail("words", words))
    }

    /// Judges a text. Free.
    ///
    /// # Errors
    /// As [`Plane::ai_translate`], without the add-on.
    ///
    /// # Source
    /// Wire contract 03 section 7.2.
    pub async fn ai_moderate(&self, caller: &Caller, text: &str) -> Result<Moderated, Problem> {
        let project = self.service_project(caller).await?;
        self.data_call(project).await?;
        let ai = self.ai()?;
        bounded("text", text, TEXT_CHARS_MAX)?;
        ai.provider.moderate(text).await.map_err(|e| provider_problem(&e))
    }

    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN`.
    ///
    /// # Source
    /// Wire contract 03 section 7.3.
    pub async fn ai_usage(&self, caller: &Caller) -> Result<AiUsage, Problem> {
        let project = self.service_project(caller).await?;
        self.ai_usage_of(project, self.now()).await
    }

    async fn ai_usage_of(&self, project: ProjectId, now: DateTime<Utc>) -> Result<AiUsage, Problem> {
        let usage = translation_usage(&self.deps().store, project, now).await;
        let Usage { active, words, since } = usage.map_err(store_problem)?;
        let included = self.deps().ai.as_ref().filter(|_| active).map_or(0, |ai| ai.translated_words);
        Ok(AiUsage { active, used_words: words, included_words: included, since })
    }

    /// Switches an add-on on or off. What the month has used stays counted.
    ///
    /// # Errors
    /// `BAD_REQUEST` for an unknown add-on; as [`Plane::project_key`]; `FORBIDDEN`; the lifecycle's refusals.
    ///
    /// # Source
    /// Wire contract 03, open question 15.
    pub async fn ai_addon_set(&self, caller: &Caller, addon: &str, on: bool) -> Result<(), Problem> {
        let project = self.service_project(caller).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await?;
        if addon != "translation" {
            let message = "the one add-on is translation";
            return Err(Problem::new(Code::BadRequest, message).detail("field", "addon"));
        }
        translation_set(&self.deps().store, project, on, self.now()).await.map_err(store_problem)?;
        tracing::info!(project.id = %project, addon, on, "add-on switched");
        Ok(())
    }
}

fn language(field: &str, text: &str) -> Result<Language, Problem> {
    text.parse().map_err(|e: ai::BadLanguage| {
        Problem::new(Code::BadRequest, format!("{field}: {e}")).detail("field", field)
    })
}

fn bounded(field: &str, text: &str, chars_max: usize) -> Result<(), Problem> {
    if !text.is_empty() && text.chars().count() <= chars_max {
        return Ok(());
    }
    let message = format!("{field} has 1 to {chars_max} characters");
    Err(Problem::new(Code::BadRequest, message).detail("field", field))
}

fn provider_problem(error: &AiError) -> Problem {
    tracing::warn!(error = %error, "the AI provider");
    let code = if error.may_pass() { Code::AiProviderFailed } else { Code::AiRequestRefused };
    Problem::new(code, error.to_string())
}
