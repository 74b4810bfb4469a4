//! Signing in with Google: a page begins, Google answers through the browser, the page ends it.
//!
//! The state that goes through the browser names the project, so that the answer finds its database, and holds
//! a secret that only the row of this very sign-in fits. The page gets a code in the fragment of its own URL,
//! which no server sees, and only the page that began can trade it: it alone has the verifier.

use ::users::oidc::{Answer, Ask, OidcError, Provider, TokenError};
use ::users::{FLOW_SECS, Flow, NewFlow, NewSession, Refusal, Traded};
use store::cells::Slot;
use types::{Code, Problem, ProjectId};
use url::Url;
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use super::origins::Use;
use super::{UserSession, problem, random_uuid, signed_out};
use crate::Plane;
use crate::caller::Caller;

/// Where Google sends browsers back to, under the API's public URL.
pub const CALLBACK: &str = "/auth/v1/oauth/google/callback";
/// Ours have about 100 characters.
const STATE_BYTES_MAX: usize = 200;
/// Google's have about 70.
const GOOGLE_CODE_BYTES_MAX: usize = 2_048;
const CODE_BYTES_MAX: usize = 200;
/// # Source
/// RFC 7636 sections 4.1 and 4.2.
const VERIFIER_BYTES: std::ops::RangeInclusive<usize> = 43..=128;
const CHALLENGE_BYTES: usize = 43;

/// What a page asks for.
#[derive(Debug, Clone)]
pub struct AskedGoogle {
    pub redirect_url: String,
    pub code_challenge: String,
    /// Add the account to the user who is signed in.
    pub link: bool,
}

/// Where the page sends its browser.
#[derive(Debug, Clone)]
pub struct BegunGoogle {
    pub authorization_url: Url,
    /// Comes back to the page beside the code.
    pub state: String,
    pub expires_in: i64,
}

/// What Google sends a browser back with.
#[derive(Debug, Clone, Default)]
pub struct GoogleAnswer {
    pub state: Option<String>,
    pub code: Option<String>,
    pub error: Option<String>,
}

impl Plane {
    /// Begins a sign-in with Google, or the adding of a Google account to the signed-in user.
    ///
    /// # Errors
    /// `OAUTH_NOT_CONFIGURED`; `UNAUTHORIZED`; `BAD_REQUEST` for a challenge that is none; `ORIGIN_NOT_ALLOWED`;
    /// `AUTHENTICATION_REQUIRED` with 401 when `link` and nobody is signed in; `RATE_LIMITED`; `UNAVAILABLE`
    /// when Google does not answer.
    ///
    /// # Source
    /// Wire contract 04 section 2.12.
    pub async fn google_begin(&self, caller: &Caller, asked: AskedGoogle) -> Result<BegunGoogle, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        let google = self.google()?;
        self.client_try(caller)?;
        if asked.code_challenge.len() != CHALLENGE_BYTES || !asked.code_challenge.bytes().all(is_unreserved) {
            let message = "code_challenge is the base64url of a SHA-256, 43 characters without padding";
            return Err(Problem::new(Code::BadRequest, message));
        }
        let redirect_url = self.project_url(project, &asked.redirect_url, Use::SignIn).await?.into();
        let link = if asked.link { Some(self.link_to(caller, project).await?) } else { None };
        let secret = || hex::encode(self.deps().entropy.secret());
        let new = NewFlow {
            id: random_uuid(self.deps().entropy.secret()),
            state: format!("{project}.{}", secret()),
            redirect_url,
            code_challenge: asked.code_challenge,
            nonce: secret(),
            code_verifier: secret(),
            link,
        };
        let ask = Ask {
            redirect_uri: &self.callback(),
            state: &new.state,
            nonce: &new.nonce,
            code_verifier: &new.code_verifier,
        };
        let url = google.authorization_url(&ask, self.deps().wall.now()).await;
        let authorization_url = url.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "sign-in provider");
            Problem::new(Code::Unavailable, "Google does not answer")
        })?;
        if !self.users().flow_begin(&slot, &new, self.now()).await.map_err(problem)? {
            let message = "too many sign-ins with Google are under way";
            return Err(Problem::new(Code::RateLimited, message).extra("retry_after", FLOW_SECS));
        }
        Ok(BegunGoogle { authorization_url, state: new.state, expires_in: FLOW_SECS })
    }

    /// Takes Google's answer from a browser. Where to send it now: the page that began, with a code or the
    /// reason why there is none in its fragment.
    ///
    /// # Errors
    /// `OAUTH_STATE_INVALID` for a state that is unknown, over or used: there is no page to go back to.
    /// `ORIGIN_NOT_ALLOWED` when the page is not the project's any more; `RATE_LIMITED`.
    ///
    /// # Source
    /// Wire contract 04 section 2.12.
    pub async fn google_answer(&self, caller: &Caller, answer: GoogleAnswer) -> Result<Url, Problem> {
        let google = self.google()?;
        self.client_try(caller)?;
        let invalid = || Problem::new(Code::OauthStateInvalid, "this sign-in is over or was never begun");
        let state =
            answer.state.as_deref().filter(|state| state.len() <= STATE_BYTES_MAX).ok_or_else(invalid)?;
        let project: ProjectId =
            state.split_once('.').and_then(|(project, _)| project.parse().ok()).ok_or_else(invalid)?;
        // A state may name a project that is gone.
        let absent = |found: Problem| match found.code {
            Code::ProjectNotFound | Code::ProjectNotReady => invalid(),
            _ => found,
        };
        self.project_live(project).await.map_err(absent)?;
        let slot = self.project_slot(project).await.map_err(absent)?;
        let flow = self.users().flow_answer(&slot, state, self.now()).await.map_err(problem)?;
        let flow = flow.ok_or_else(invalid)?;
        // Names change hands: it was the project's page when this began.
        let mut page = self.project_url(project, &flow.redirect_url, Use::SignIn).await?;
        let settled = self.google_settle(google, &slot, &flow, &answer).await?;
        let (name, value) = match &settled {
            Ok(code) => ("code", code.as_str()),
            Err(error) => ("error", *error),
        };
        let mut fragment = Serializer::new(String::new());
        fragment.append_pair(name, value).append_pair("state", state);
        page.set_fragment(Some(&fragment.finish()));
        Ok(page)
    }

    /// The page's code, or what the page is told instead.
    async fn google_settle(
        &self,
        google: &Provider,
        slot: &Slot,
        flow: &Flow,
        answer: &GoogleAnswer,
    ) -> Result<Result<String, &'static str>, Problem> {
        let code = match (&answer.error, &answer.code) {
            (None, Some(code)) if code.len() <= GOOGLE_CODE_BYTES_MAX => code,
            (Some(error), _) if error == "access_denied" => return Ok(Err("access_denied")),
            _ => return Ok(Err("oauth_failed")),
        };
        let given = Answer {
            redirect_uri: &self.callback(),
            code,
            nonce: &flow.nonce,
            code_verifier: &flow.code_verifier,
        };
        let proof = match google.proof(&given, self.deps().wall.now()).await {
            Ok(proof) => proof,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "sign-in provider");
                return Ok(Err(shown(&error)));
            }
        };
        let code = format!("gc_{}", hex::encode(self.deps().entropy.secret()));
        let settled =
            self.users().flow_settle(slot, flow, &proof, &code, self.now()).await.map_err(problem)?;
        Ok(settled.map(|()| code).map_err(word))
    }

    /// Signs in the page that began, for the code that it got. A code works once and for five minutes.
    ///
    /// # Errors
    /// `INVALID_GRANT` for a code that is unknown, over, used or another page's;
    /// `ACCOUNT_EXISTS_REQUIRES_LINK`, `IDENTITY_ALREADY_LINKED`, `DOMAIN_NOT_ALLOWED`, `SIGNUP_NOT_ALLOWED`
    /// when that became true since Google answered.
    ///
    /// # Source
    /// Wire contract 04 section 2.7.
    pub async fn google_end(
        &self,
        caller: &Caller,
        code: &str,
        code_verifier: &str,
    ) -> Result<UserSession, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        self.client_try(caller)?;
        let invalid = || Problem::new(Code::InvalidGrant, "this code is not valid");
        let is_verifier =
            VERIFIER_BYTES.contains(&code_verifier.len()) && code_verifier.bytes().all(is_unreserved);
        if code.len() > CODE_BYTES_MAX || !is_verifier {
            return Err(invalid());
        }
        let new = NewSession {
            id: random_uuid(self.deps().entropy.secret()),
            user: random_uuid(self.deps().entropy.secret()),
            amr: "oauth_google",
            refresh_token: self.refresh_token(),
        };
        match self
            .users()
            .flow_trade(&slot, (code, code_verifier), &new, self.now())
            .await
            .map_err(problem)?
        {
            Traded::Session(user, facts) => self.user_session(project, user, facts, new.refresh_token).await,
            Traded::Refused(refusal) => Err(refused(refusal)),
            Traded::Invalid => Err(invalid()),
        }
    }

    fn google(&self) -> Result<&Provider, Problem> {
        let missing = || Problem::new(Code::OauthNotConfigured, "this server has no Google client");
        self.users().google.as_deref().ok_or_else(missing)
    }

    fn callback(&self) -> String {
        format!("{}{CALLBACK}", self.public_url())
    }

    /// The user and the sign-in of this request.
    async fn link_to(&self, caller: &Caller, project: ProjectId) -> Result<(Uuid, Uuid), Problem> {
        let (claims, slot) = self.user_claims(caller).await?;
        if claims.project_id != project {
            return Err(signed_out("token and apikey belong to two projects"));
        }
        self.account_of(&slot, claims.sub, claims.session_id).await?;
        Ok((claims.sub, claims.session_id))
    }
}

/// # Source
/// RFC 3986 section 2.3.
fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

/// What the page is told of a provider's failure.
fn shown(error: &OidcError) -> &'static str {
    match error {
        OidcError::Unreachable(_) => "provider_unavailable",
        OidcError::Token(TokenError::Email) => "email_not_verified",
        OidcError::Refused(_) | OidcError::Token(_) => "oauth_failed",
    }
}

/// # Source
/// Wire contract 04 section 2.12.
fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::AccountExists => "account_exists_requires_link",
        Refusal::IdentityLinked => "identity_already_linked",
        Refusal::Domain => "domain_not_allowed",
        Refusal::Signup => "signup_not_allowed",
    }
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::AccountExists => Problem::new(
            Code::AccountExistsRequiresLink,
            "the address belongs to a user who signs in another way",
        ),
        Refusal::IdentityLinked => {
            Problem::new(Code::IdentityAlreadyLinked, "this Google account is another user's")
        }
        Refusal::Domain => Problem::new(Code::DomainNotAllowed, "this project takes other domains"),
        Refusal::Signup => Problem::new(Code::SignupNotAllowed, "this project does not take sign-ups"),
    }
}
