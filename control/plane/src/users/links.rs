//! Signing in by mail.

use ::users::mail::{Mail, header_line};
use ::users::{Intent, LinkAsked, LinkProof, NewLink, NewSession};
use serde_json::Value;
use types::{Code, Problem, ProjectId, Tier};
use uuid::Uuid;

use super::origins::Use;
use super::{UserSession, problem, random_uuid};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::{KeyRole, ProjectKey, store_problem};

/// What the page that asked may keep with the link, in bytes.
const CLIENT_STATE_BYTES_MAX: usize = 4_096;
/// Ours have 67 characters.
const TOKEN_BYTES_MAX: usize = 200;

/// How somebody who asks wants the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    #[default]
    Link,
    Code,
    Both,
}

/// A request for a link, as it came.
#[derive(Debug, Clone, Default)]
pub struct AskedLink {
    pub email: String,
    pub redirect_url: Option<String>,
    pub intent: Intent,
    pub client_state: Option<Value>,
    pub delivery: Delivery,
}

/// What came with a sign-in by mail.
#[derive(Debug, Clone)]
pub struct LinkFacts {
    pub intent: String,
    pub client_state: Option<String>,
    pub trusted: bool,
}

impl Plane {
    /// Mails a link, a code or both, to an address that may come in. The answer is the same if it may not:
    /// the id by which a code is given back.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; `INVALID_EMAIL`; `BAD_REQUEST`; `REDIRECT_NOT_ALLOWED`; `FORBIDDEN` for an invitation
    /// without the service key; `RATE_LIMITED`; `MAIL_NOT_CONFIGURED`.
    ///
    /// # Source
    /// Wire contract 04 section 2.8.
    pub async fn user_link_ask(&self, caller: &Caller, asked: AskedLink) -> Result<Uuid, Problem> {
        let (project, _) = self.users_entry(caller).await?;
        let trusted = self.is_trusted(caller, project).await;
        if asked.intent == Intent::Invite && !trusted {
            return Err(Problem::new(Code::Forbidden, "invitations need the service key"));
        }
        self.link_mail(caller, project, asked, trusted).await.map(|(id, _)| id)
    }

    /// Mails a link on behalf of whoever was found to be allowed to. The bool says that a mail was written.
    pub(super) async fn link_mail(
        &self,
        caller: &Caller,
        project: ProjectId,
        asked: AskedLink,
        trusted: bool,
    ) -> Result<(Uuid, bool), Problem> {
        self.mail_configured()?;
        let email = ::users::email_normal(&asked.email)
            .ok_or_else(|| Problem::new(Code::InvalidEmail, "this is no e-mail address"))?;
        let (link, token) = self.link_url(project, &asked).await?;
        let client_state = client_state(asked.client_state)?;
        if !trusted {
            self.client_try(caller)?;
        }
        let code = (asked.delivery != Delivery::Link).then(|| code(self.deps().entropy.secret()));
        let name = header_line(&self.project_live(project).await?.name);
        let mail = Mail {
            id: random_uuid(self.deps().entropy.secret()),
            recipient: email.clone(),
            template: "magic_link",
            subject: subject(asked.intent, &name),
            body: body(asked.intent, &name, link.as_deref(), code.as_deref()),
        };
        let tier = self.tier_of(project).await?;
        let new = NewLink {
            id: random_uuid(self.deps().entropy.secret()),
            email,
            token,
            code,
            intent: asked.intent,
            client_state,
            trusted,
            mail,
            per_hour_max: per_hour_max(tier),
        };
        // Before the mail is written, and also when none is.
        store::mail::mail_mark(&self.deps().store, project).await.map_err(store_problem)?;
        let slot = self.project_slot(project).await?;
        match self.users().link_ask(&slot, &new, self.now()).await.map_err(problem)? {
            LinkAsked::Mailed => Ok((new.id, true)),
            LinkAsked::Kept => Ok((new.id, false)),
            LinkAsked::Limited { retry_secs } => {
                let message = "too many links were asked for within the hour";
                Err(Problem::new(Code::RateLimited, message).extra("retry_after", retry_secs))
            }
        }
    }

    /// Signs in whoever holds a link's token, or a code.
    ///
    /// # Errors
    /// `MAGIC_LINK_INVALID`, the same for one that is unknown, over or used.
    ///
    /// # Source
    /// Wire contract 04 section 2.8.
    pub async fn user_link_use(&self, caller: &Caller, proof: LinkProof) -> Result<UserSession, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        self.client_try(caller)?;
        let invalid = || Problem::new(Code::MagicLinkInvalid, "this link or code is not valid");
        let secret = match &proof {
            LinkProof::Token(token) => token,
            LinkProof::Code { code, .. } => code,
        };
        if secret.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let entropy = &self.deps().entropy;
        let new = NewSession {
            id: random_uuid(entropy.secret()),
            user: random_uuid(entropy.secret()),
            amr: "magic_link",
            refresh_token: self.refresh_token(),
        };
        let used = self.users().link_use(&slot, &proof, &new, self.now()).await.map_err(problem)?;
        let used = used.ok_or_else(invalid)?;
        let mut session = self.user_session(project, used.user, used.facts, new.refresh_token).await?;
        session.magic_link =
            Some(LinkFacts { intent: used.intent, client_state: used.client_state, trusted: used.trusted });
        Ok(session)
    }

    /// Whether the request carries the project's service key.
    async fn is_trusted(&self, caller: &Caller, project: ProjectId) -> bool {
        let service = ProjectKey { project, role: KeyRole::Service };
        self.project_key(caller).await.is_ok_and(|key| key == service)
    }

    pub(super) fn mail_configured(&self) -> Result<(), Problem> {
        if self.deps().captures_mail {
            return Ok(());
        }
        Err(Problem::new(Code::MailNotConfigured, "this server sends no mail"))
    }

    pub(crate) async fn tier_of(&self, project: ProjectId) -> Result<Tier, Problem> {
        let pool = store::calls::pool_find(&self.deps().store, project).await;
        Ok(pool.map_err(store_problem)?.and_then(|pool| pool.tier).unwrap_or(Tier::Prototype))
    }

    /// The mailed URL and its token; neither for a code alone.
    async fn link_url(
        &self,
        project: ProjectId,
        asked: &AskedLink,
    ) -> Result<(Option<String>, Option<String>), Problem> {
        let Some(redirect) = &asked.redirect_url else {
            if asked.delivery == Delivery::Code {
                return Ok((None, None));
            }
            return Err(Problem::new(Code::BadRequest, "redirect_url is missing"));
        };
        let mut url = self.project_url(project, redirect, Use::Redirect).await?;
        if asked.delivery == Delivery::Code {
            return Ok((None, None));
        }
        let token = format!("ml_{}", hex::encode(self.deps().entropy.secret()));
        url.query_pairs_mut().append_pair("token", &token);
        Ok((Some(url.into()), Some(token)))
    }
}

/// # Source
/// Wire contract 04 section 13, question 5.
fn per_hour_max(tier: Tier) -> i64 {
    match tier {
        Tier::Prototype => 50,
        Tier::Hobby => 200,
        Tier::Team => 1_000,
    }
}

/// Texts as they are, anything else as JSON.
///
/// # Source
/// Wire contract 04 section 13, question 7.
fn client_state(value: Option<Value>) -> Result<Option<String>, Problem> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    if text.len() > CLIENT_STATE_BYTES_MAX || text.contains('\0') {
        let message = format!("client_state has {CLIENT_STATE_BYTES_MAX} bytes at most and no NUL");
        return Err(Problem::new(Code::BadRequest, message));
    }
    Ok(Some(text))
}

/// Six digits.
fn code(bits: [u8; 32]) -> String {
    let mut half = [0; 8];
    half.copy_from_slice(&bits[..8]);
    format!("{:06}", u64::from_le_bytes(half) % 1_000_000)
}

fn subject(intent: Intent, name: &str) -> String {
    match intent {
        Intent::Signin | Intent::Claim => format!("Sign in to {name}"),
        Intent::Invite => format!("You are invited to {name}"),
        Intent::Recovery => format!("Choose a new password for {name}"),
    }
}

fn body(intent: Intent, name: &str, link: Option<&str>, code: Option<&str>) -> String {
    let mut body = format!("{}.\n", subject(intent, name));
    let minutes = ::users::LINK_MINUTES;
    if let Some(link) = link {
        body.push_str(&format!("\nThis link works once, within {minutes} minutes:\n\n{link}\n"));
    }
    if let Some(code) = code {
        body.push_str(&format!("\nYour code, for {minutes} minutes:\n\n{code}\n"));
    }
    body.push_str("\nIf you did not ask for this, ignore it: nothing happens.\n");
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_clients_state_is_a_text() {
        let read = |value| client_state(Some(value)).unwrap();
        assert_eq!(read(json!("as it is")), Some("as it is".into()));
        assert_eq!(read(json!({ "b": 1, "a": [true] })), Some(r#"{"b":1,"a":[true]}"#.into()));
        assert_eq!(read(json!(null)), None);
        assert!(client_state(Some(json!("x".repeat(CLIENT_STATE_BYTES_MAX + 1)))).is_err());
    }

    #[test]
    fn codes_have_six_digits() {
        for bits in [[0; 32], [255; 32], [7; 32]] {
            let code = code(bits);
            assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
        }
    }
}
