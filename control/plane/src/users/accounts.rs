//! Passwords set later, users as the owner sees them, and what a project offers.

use ::users::token::Role;
use ::users::{Account, Intent, PasswordRight, Settings, User, WantedUser};
use serde_json::Value;
use store::cells::Slot;
use types::{Code, Problem, ProjectId};
use uuid::Uuid;

use super::links::AskedLink;
use super::origins::Use;
use super::{problem, random_uuid, signed_out};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::KeyRole;

const LIST_MAX: i64 = 1_000;

/// A user as the owner asks for it.
#[derive(Debug, Clone)]
pub struct AskedUser {
    pub email: String,
    pub is_admin: Option<bool>,
    pub send_invite: bool,
    pub redirect_url: Option<String>,
    pub client_state: Option<Value>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct MadeUser {
    pub user: User,
    pub created: bool,
    pub invite_sent: bool,
}

/// What a project's pages may offer to sign in with.
#[derive(Debug, Clone)]
pub struct Offered {
    pub settings: Settings,
    pub mail: bool,
    pub google: bool,
}

impl Plane {
    /// Sets, changes or resets the password of the signed-in user, and ends the user's other sign-ins.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED`; `WEAK_PASSWORD`; `INVALID_CREDENTIALS` for a wrong current password;
    /// `CURRENT_PASSWORD_REQUIRED`; `PASSWORD_SET_DISABLED`; `RATE_LIMITED`; `UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 04 section 2.9.
    pub async fn user_password_set(
        &self,
        caller: &Caller,
        current: Option<String>,
        new: String,
    ) -> Result<(), Problem> {
        let (claims, slot) = self.user_claims(caller).await?;
        super::password_fits(&new)?;
        let account = self.account_of(&slot, claims.sub, claims.session_id).await?;
        self.users_try(caller, claims.project_id, &account.user.email)?;
        let current = current.filter(|current| !current.is_empty());
        match account.password_right(current.is_some(), self.now()) {
            PasswordRight::Change => {
                let given = current.filter(|given| given.len() <= *::users::password::BYTES.end());
                let wrong = || Problem::new(Code::InvalidCredentials, "the current password is another one");
                let matches = self
                    .users()
                    .passwords
                    .matches(given.ok_or_else(wrong)?, account.password_hash.as_deref());
                if !matches.await.map_err(|busy| problem(busy.into()))? {
                    return Err(wrong());
                }
            }
            PasswordRight::Reset | PasswordRight::Set => {}
            PasswordRight::NeedsCurrent => {
                return Err(Problem::new(Code::CurrentPasswordRequired, "current_password is missing"));
            }
            PasswordRight::Disabled => {
                return Err(Problem::new(
                    Code::PasswordSetDisabled,
                    "this project does not let users set a password",
                ));
            }
        }
        let salt = self.deps().entropy.secret();
        let hash = self.users().passwords.hash(new, salt).await.map_err(|busy| problem(busy.into()))?;
        let done = self.users().password_set(&slot, &account, &hash, self.now()).await.map_err(problem)?;
        let raced = || {
            Problem::new(
                Code::InvalidCredentials,
                "the password was changed, or the sign-in ended, meanwhile",
            )
        };
        if done { Ok(()) } else { Err(raced()) }
    }

    /// The account of the user whose token this is, and the token's role.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED` with 401 when the token does not verify, its hour or its sign-in is over, or
    /// the `apikey` is another project's.
    pub async fn user_account(&self, caller: &Caller) -> Result<(Account, Role), Problem> {
        let (claims, slot) = self.user_claims(caller).await?;
        Ok((self.account_of(&slot, claims.sub, claims.session_id).await?, claims.role))
    }

    pub(super) async fn account_of(
        &self,
        slot: &Slot,
        user: Uuid,
        session: Uuid,
    ) -> Result<Account, Problem> {
        let found = self.users().account_find(slot, user, session).await.map_err(problem)?;
        found.ok_or_else(|| signed_out("the sign-in has ended"))
    }

    /// Makes a user or changes the one of that address, and invites them if asked to.
    ///
    /// # Errors
    /// `UNAUTHORIZED`, `FORBIDDEN`, the lifecycle's; `INVALID_EMAIL`; `REDIRECT_REQUIRED` and
    /// `REDIRECT_NOT_ALLOWED` of an invitation; `RATE_LIMITED` for an invitation too many, after the user was
    /// made.
    ///
    /// # Source
    /// Wire contract 04 section 2.14. Without mail, nobody is invited, and that is no error.
    pub async fn user_want(&self, caller: &Caller, asked: AskedUser) -> Result<MadeUser, Problem> {
        let (project, slot) = self.owner_change(caller).await?;
        let email = ::users::email_normal(&asked.email)
            .ok_or_else(|| Problem::new(Code::InvalidEmail, "this is no e-mail address"))?;
        if asked.send_invite {
            let missing = || Problem::new(Code::RedirectRequired, "an invitation needs redirect_url");
            let redirect = asked.redirect_url.as_deref().ok_or_else(missing)?;
            self.project_url(project, redirect, Use::Redirect).await?;
        }
        let wanted = WantedUser {
            fresh: random_uuid(self.deps().entropy.secret()),
            email: email.clone(),
            is_admin: asked.is_admin,
        };
        let (user, created) = self.users().user_want(&slot, &wanted, self.now()).await.map_err(problem)?;
        let invite_sent = if asked.send_invite && self.mail_configured().is_ok() {
            let link = AskedLink {
                email,
                redirect_url: asked.redirect_url,
                intent: Intent::Invite,
                client_state: asked.client_state,
                ..AskedLink::default()
            };
            self.link_mail(caller, project, link, true).await?.1
        } else {
            false
        };
        Ok(MadeUser { user, created, invite_sent })
    }

    /// The project's users by id, after the one given.
    ///
    /// # Errors
    /// `UNAUTHORIZED` or `FORBIDDEN` without a service key; `UNAVAILABLE`.
    pub async fn user_list(
        &self,
        caller: &Caller,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<User>, Problem> {
        let slot = self.owner_read(caller).await?;
        self.users().user_list(&slot, after, limit.clamp(1, LIST_MAX)).await.map_err(problem)
    }

    /// One user of the project.
    ///
    /// # Errors
    /// As [`Plane::user_list`]; `USER_NOT_FOUND`.
    pub async fn user_get(&self, caller: &Caller, id: &str) -> Result<User, Problem> {
        let slot = self.owner_read(caller).await?;
        let missing = || Problem::new(Code::UserNotFound, "User not found");
        let id = id.parse().map_err(|_| missing())?;
        self.users().user_get(&slot, id).await.map_err(problem)?.ok_or_else(missing)
    }

    /// Makes a user a project admin, or no longer one. Idempotent.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; the lifecycle's; `USER_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 04 section 2.18.
    pub async fn user_admin_set(
        &self,
        caller: &Caller,
        project: ProjectId,
        email: &str,
        is_admin: bool,
    ) -> Result<User, Problem> {
        self.service_key(caller, project).await?;
        self.account_gate(self.project_live(project).await?.account).await?;
        let slot = self.project_slot(project).await?;
        let missing = || Problem::new(Code::UserNotFound, "User not found");
        let email = ::users::email_normal(email).ok_or_else(missing)?;
        self.users().admin_set(&slot, &email, is_admin).await.map_err(problem)?.ok_or_else(missing)
    }

    /// What this project's pages may offer.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; `UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 04 section 2.11.
    pub async fn auth_offered(&self, caller: &Caller) -> Result<Offered, Problem> {
        let (_, slot) = self.users_entry(caller).await?;
        let settings = self.users().settings_fetch(&slot).await.map_err(problem)?;
        Ok(Offered { settings, mail: self.deps().captures_mail, google: self.users().google.is_some() })
    }

    /// The project of a request that carries its service key.
    async fn owner_read(&self, caller: &Caller) -> Result<Slot, Problem> {
        let key = self.project_key(caller).await?;
        if key.role != KeyRole::Service {
            return Err(Problem::new(Code::Forbidden, "this needs the service key"));
        }
        self.project_slot(key.project).await
    }

    /// The same for a change, which a lease that ended long ago does not allow.
    pub(super) async fn owner_change(&self, caller: &Caller) -> Result<(ProjectId, Slot), Problem> {
        let slot = self.owner_read(caller).await?;
        let project = self.project_key(caller).await?.project;
        self.account_gate(self.project_live(project).await?.account).await?;
        Ok((project, slot))
    }
}
