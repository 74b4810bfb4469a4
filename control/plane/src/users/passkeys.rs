//! Passkeys of a project's users.
//!
//! Each belongs to the exact host of one page. Whether the page is the project's is asked when a ceremony begins
//! and again when it ends: a name may have been given up in between.

use ::users::{
    Account, Ceremony, Challenge, NewPasskey, NewSession, PasskeyRecord, PasskeyRefusal, Realm, UsersError,
};
use serde_json::Value;
use store::cells::Slot;
use types::{Code, Problem, ProjectId};
use uuid::Uuid;

use super::origins::Use;
use super::{UserSession, problem, random_uuid, signed_out};
use crate::Plane;
use crate::caller::Caller;

const LABEL_CHARS_MAX: usize = 100;

/// What a page hands to `navigator.credentials`.
#[derive(Debug, Clone)]
pub struct PasskeyOptions {
    pub challenge_id: Uuid,
    /// In the JSON form that `PublicKeyCredential.parseCreationOptionsFromJSON` and its sibling read.
    pub options: Value,
}

impl Plane {
    /// Begins to register a passkey of the signed-in user, for the page of this origin.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED` with 401; `ORIGIN_NOT_ALLOWED`; `PASSKEY_REQUIRED`; `RATE_LIMITED`;
    /// `UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 04 section 2.15.
    pub async fn passkey_register_options(
        &self,
        caller: &Caller,
        origin: &str,
    ) -> Result<PasskeyOptions, Problem> {
        let (project, slot, account) = self.passkey_owner(caller).await?;
        let realm = self.realm(project, origin).await?;
        self.client_try(caller)?;
        self.passkey_guarded(&slot, &account).await?;
        let (challenge_id, fresh) = (self.random_id(), self.random_id());
        let begun = self
            .users()
            .passkey_register_begin(&slot, &account.user, &realm, (challenge_id, fresh), self.now())
            .await;
        Ok(PasskeyOptions { challenge_id, options: registered(begun)? })
    }

    /// Keeps the passkey that answers a registration.
    ///
    /// # Errors
    /// As [`Plane::passkey_register_options`]; `PASSKEY_CHALLENGE_INVALID`, `PASSKEY_VERIFICATION_FAILED` with
    /// 400, which both end the registration; `PASSKEY_EXISTS`; `BAD_REQUEST`.
    ///
    /// # Source
    /// Wire contract 04 section 2.15.
    pub async fn passkey_register(
        &self,
        caller: &Caller,
        challenge: &str,
        response: &Value,
        label: Option<String>,
    ) -> Result<PasskeyRecord, Problem> {
        let (project, slot, account) = self.passkey_owner(caller).await?;
        let label = label_read(label)?;
        self.passkey_guarded(&slot, &account).await?;
        let ceremony = Ceremony::Register(account.user.id);
        let (taken, realm) = self.challenge_take(project, &slot, challenge, ceremony).await?;
        let new = NewPasskey { id: self.random_id(), asking: account.facts.id, label };
        let done =
            self.users().passkey_register_end(&slot, (taken, &realm), response, &new, self.now()).await;
        registered(done)
    }

    /// Begins a sign-in on the page of this origin. Nothing in the answer is about an account.
    ///
    /// # Errors
    /// `UNAUTHORIZED` without a project's key; `ORIGIN_NOT_ALLOWED`; `RATE_LIMITED`; `UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 04 section 2.16.
    pub async fn passkey_login_options(
        &self,
        caller: &Caller,
        origin: &str,
    ) -> Result<PasskeyOptions, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        let realm = self.realm(project, origin).await?;
        self.client_try(caller)?;
        let challenge_id = self.random_id();
        let begun = self.users().passkey_login_begin(&slot, &realm, challenge_id, self.now()).await;
        Ok(PasskeyOptions { challenge_id, options: signed_in(begun)? })
    }

    /// Signs in whoever holds the passkey that answers.
    ///
    /// # Errors
    /// `PASSKEY_CHALLENGE_INVALID`; `PASSKEY_VERIFICATION_FAILED` with 401, the same whatever is wrong;
    /// `UNAUTHORIZED`, `ORIGIN_NOT_ALLOWED`, `RATE_LIMITED`, `UNAVAILABLE` as above.
    ///
    /// # Source
    /// Wire contract 04 section 2.16.
    pub async fn passkey_login(
        &self,
        caller: &Caller,
        challenge: &str,
        response: &Value,
    ) -> Result<UserSession, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        self.client_try(caller)?;
        let (taken, realm) = self.challenge_take(project, &slot, challenge, Ceremony::Login).await?;
        let new = NewSession {
            id: self.random_id(),
            // Whoever the passkey is of.
            user: Uuid::nil(),
            amr: "passkey",
            refresh_token: self.refresh_token(),
        };
        let done = self.users().passkey_login_end(&slot, (taken, &realm), response, &new, self.now()).await;
        let (user, facts) = signed_in(done)?;
        self.user_session(project, user, facts, new.refresh_token).await
    }

    /// The passkeys of the signed-in user.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED` with 401; `UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 04 section 2.17.
    pub async fn passkey_list(&self, caller: &Caller) -> Result<Vec<PasskeyRecord>, Problem> {
        let (_, slot, account) = self.passkey_owner(caller).await?;
        self.users().passkey_list(&slot, account.user.id).await.map_err(problem)
    }

    /// Removes a passkey of the signed-in user, and ends the other sign-ins that were made with it.
    ///
    /// # Errors
    /// As [`Plane::passkey_list`]; `RESOURCE_NOT_FOUND`, also for another user's; `PASSKEY_REQUIRED`.
    ///
    /// # Source
    /// Wire contract 04 section 2.17.
    pub async fn passkey_remove(&self, caller: &Caller, id: &str) -> Result<(), Problem> {
        let (_, slot, account) = self.passkey_owner(caller).await?;
        let missing = || Problem::new(Code::ResourceNotFound, "you have no such passkey");
        let id = id.parse().map_err(|_| missing())?;
        self.passkey_guarded(&slot, &account).await?;
        let (owner, asking) = (account.user.id, account.facts.id);
        let removed = self.users().passkey_remove(&slot, owner, id, asking, self.now()).await;
        if removed.map_err(problem)? { Ok(()) } else { Err(missing()) }
    }

    async fn passkey_owner(&self, caller: &Caller) -> Result<(ProjectId, Slot, Account), Problem> {
        let (claims, slot) = self.user_claims(caller).await?;
        let account = self.account_of(&slot, claims.sub, claims.session_id).await?;
        Ok((claims.project_id, slot, account))
    }

    /// Refuses to change the passkeys of an admin whose role needs one, unless this sign-in was by one: who
    /// stole a password or a mail would else give themselves the role. The first passkey is free.
    async fn passkey_guarded(&self, slot: &Slot, account: &Account) -> Result<(), Problem> {
        if !account.user.is_admin || account.facts.amr.iter().any(|method| method == "passkey") {
            return Ok(());
        }
        let guard = self.users().passkey_guard(slot, account.user.id).await.map_err(problem)?;
        if guard.is_required && guard.usable > 0 {
            return Err(Problem::new(Code::PasskeyRequired, "this sign-in was not by passkey"));
        }
        Ok(())
    }

    /// Takes the ceremony, which ends it, and asks again whether its page is the project's.
    async fn challenge_take(
        &self,
        project: ProjectId,
        slot: &Slot,
        id: &str,
        ceremony: Ceremony,
    ) -> Result<(Challenge, Realm), Problem> {
        // What is no id names no ceremony, like an id that we never gave.
        let id = id.parse().unwrap_or(Uuid::nil());
        let taken = self.users().passkey_challenge_take(slot, id, ceremony, self.now()).await;
        let taken = taken.map_err(problem)?.map_err(|refusal| refused(Code::PasskeyNotVerified, refusal))?;
        let realm = self.realm(project, &taken.origin).await?;
        Ok((taken, realm))
    }

    async fn realm(&self, project: ProjectId, origin: &str) -> Result<Realm, Problem> {
        let origin = self.project_url(project, origin, Use::Passkey).await?;
        let name = self.project_live(project).await?.name.clone();
        Ok(Realm { origin, name })
    }

    fn random_id(&self) -> Uuid {
        random_uuid(self.deps().entropy.secret())
    }
}

fn registered<T>(done: Result<Result<T, PasskeyRefusal>, UsersError>) -> Result<T, Problem> {
    done.map_err(problem)?.map_err(|refusal| match &refusal {
        // The user is known, and it is their page that has to be put right.
        PasskeyRefusal::Verification(reason) => {
            let reason = reason.clone();
            refused(Code::PasskeyNotRegistered, refusal).detail("reason", reason)
        }
        _ => refused(Code::PasskeyNotRegistered, refusal),
    })
}

fn signed_in<T>(done: Result<Result<T, PasskeyRefusal>, UsersError>) -> Result<T, Problem> {
    done.map_err(problem)?.map_err(|refusal| refused(Code::PasskeyNotVerified, refusal))
}

fn refused(verification: Code, refusal: PasskeyRefusal) -> Problem {
    match refusal {
        PasskeyRefusal::Challenge => {
            Problem::new(Code::PasskeyChallengeInvalid, "this challenge is not valid, or not any more")
        }
        PasskeyRefusal::Verification(_) => Problem::new(verification, "the passkey does not verify"),
        PasskeyRefusal::Exists => Problem::new(Code::PasskeyExists, "this passkey is registered already"),
        PasskeyRefusal::TooMany => {
            Problem::new(Code::BadRequest, "a user has 50 passkeys at most: remove one first")
        }
        PasskeyRefusal::SignedOut => signed_out("the sign-in has ended"),
        PasskeyRefusal::Busy => {
            Problem::new(Code::RateLimited, "too many sign-ins are under way").extra("retry_after", 60)
        }
    }
}

fn label_read(label: Option<String>) -> Result<Option<String>, Problem> {
    let Some(label) = label.map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()) else {
        return Ok(None);
    };
    if label.chars().count() > LABEL_CHARS_MAX || label.chars().any(char::is_control) {
        let message = format!("label has {LABEL_CHARS_MAX} characters at most, and none that controls");
        return Err(Problem::new(Code::BadRequest, message));
    }
    Ok(Some(label))
}
