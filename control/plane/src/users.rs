//! End users: signing up, signing in, staying signed in.
//!
//! Whether an address has an account is told by signing up alone, as the contract has it. Signing in answers
//! the same, after the same work, for a wrong password and for an address nobody has.

mod accounts;
mod google;
mod jwt_keys;
mod links;
mod origins;
mod passkeys;

use std::time::Duration;

use ::users::token::{self, Claims, Role, Subject};
use ::users::{
    NewSession, NewUser, Refreshed, SessionFacts, Settings, SettingsChange, Signup, User, Users, UsersError,
};
use sha2::{Digest, Sha256};
use store::cells::Slot;
use store::projects::Secret;
use types::{Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys;
use crate::rate::{Rates, client_network};

pub use accounts::{AskedUser, MadeUser, Offered};
pub use google::{AskedGoogle, BegunGoogle, CALLBACK, GoogleAnswer};
pub use links::{AskedLink, Delivery, LinkFacts};
pub use passkeys::PasskeyOptions;

/// Tries of one address of one project: ten at once, then one each six seconds.
const ACCOUNT_TRY_EVERY: Duration = Duration::from_secs(6);
const ACCOUNT_BURST: u32 = 10;
/// Tries of one client's network, over all projects.
const CLIENT_TRY_EVERY: Duration = Duration::from_secs(2);
const CLIENT_BURST: u32 = 30;
const KEYS_MAX: usize = 100_000;
const EMAIL_DOMAINS_MAX: usize = 100;
/// # Source
/// RFC 1035 section 2.3.4.
const DOMAIN_BYTES_MAX: usize = 253;
/// Ours have 67 characters.
const REFRESH_BYTES_MAX: usize = 200;

/// Who tried how often.
pub(crate) struct UsersState {
    accounts: Rates<[u8; 32]>,
    clients: Rates<std::net::IpAddr>,
}

impl UsersState {
    pub fn new() -> Self {
        Self {
            accounts: Rates::every(ACCOUNT_TRY_EVERY, ACCOUNT_BURST, KEYS_MAX),
            clients: Rates::every(CLIENT_TRY_EVERY, CLIENT_BURST, KEYS_MAX),
        }
    }
}

/// An address and a password as they came.
pub struct Login {
    pub email: String,
    pub password: String,
}

/// What a signed-in user holds.
pub struct UserSession {
    pub access_token: String,
    pub refresh_token: String,
    pub user: User,
    pub role: Role,
    /// Of a sign-in by mail.
    pub magic_link: Option<LinkFacts>,
}

impl UserSession {
    /// A project admin who has not used a passkey where the settings ask for one.
    pub fn needs_passkey(&self) -> bool {
        self.user.is_admin && self.role != Role::ProjectAdmin
    }
}

impl Plane {
    /// Makes an account, without signing in.
    ///
    /// # Errors
    /// `UNAUTHORIZED` without a project's key; `INVALID_EMAIL`; `WEAK_PASSWORD`; `SIGNUP_NOT_ALLOWED`;
    /// `USER_EXISTS`; `RATE_LIMITED`; `UNAVAILABLE` when too many passwords are being hashed.
    ///
    /// # Source
    /// Wire contract 04 section 2.6.
    pub async fn user_signup(&self, caller: &Caller, login: Login) -> Result<User, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        let email = ::users::email_normal(&login.email)
            .ok_or_else(|| Problem::new(Code::InvalidEmail, "this is no e-mail address"))?;
        password_fits(&login.password)?;
        self.users_try(caller, project, &email)?;
        let users = self.users();
        if users.settings_fetch(&slot).await.map_err(problem)?.public_signup != Signup::Open {
            return Err(Problem::new(Code::SignupNotAllowed, "this project does not take sign-ups"));
        }
        let entropy = &self.deps().entropy;
        let hash = users.passwords.hash(login.password, entropy.secret());
        let password_hash = Some(hash.await.map_err(|busy| problem(busy.into()))?);
        let new = NewUser { id: random_uuid(entropy.secret()), email, password_hash, created_at: self.now() };
        users
            .user_insert(&slot, &new)
            .await
            .map_err(problem)?
            .ok_or_else(|| Problem::new(Code::UserExists, "this address has an account"))
    }

    /// Signs a user in by password.
    ///
    /// # Errors
    /// `INVALID_CREDENTIALS` whatever is wrong; `UNAUTHORIZED`, `RATE_LIMITED`, `UNAVAILABLE` as above.
    ///
    /// # Source
    /// Wire contract 04 section 2.7.
    pub async fn user_login(&self, caller: &Caller, login: Login) -> Result<UserSession, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        let wrong = || Problem::new(Code::InvalidCredentials, "address and password do not fit");
        let email = ::users::email_normal(&login.email).ok_or_else(wrong)?;
        if login.password.len() > *::users::password::BYTES.end() {
            return Err(wrong());
        }
        self.users_try(caller, project, &email)?;
        let users = self.users();
        let found = users.user_find(&slot, &email).await.map_err(problem)?;
        let stored = found.as_ref().and_then(|(_, hash)| hash.clone());
        // Nobody's password is compared as long as somebody's.
        let matches = users.passwords.matches(login.password, stored.as_deref()).await;
        let matches = matches.map_err(|busy| problem(busy.into()))?;
        let (user, _) = found.filter(|_| matches).ok_or_else(wrong)?;
        let new = NewSession {
            id: random_uuid(self.deps().entropy.secret()),
            user: user.id,
            amr: "password",
            refresh_token: self.refresh_token(),
        };
        let begun = users.session_begin(&slot, &new, stored.as_deref(), self.now()).await.map_err(problem)?;
        let facts = begun.ok_or_else(wrong)?;
        self.user_session(project, user, facts, new.refresh_token).await
    }

    /// Trades a refresh token for a new pair.
    ///
    /// # Errors
    /// `INVALID_GRANT` for a token that is unknown, over, or was used before, which ends the sign-in.
    ///
    /// # Source
    /// Wire contract 04 section 2.7.
    pub async fn user_refresh(&self, caller: &Caller, old: &str) -> Result<UserSession, Problem> {
        let (project, slot) = self.users_entry(caller).await?;
        let refused = || Problem::new(Code::InvalidGrant, "this refresh token is not valid");
        if old.len() > REFRESH_BYTES_MAX {
            return Err(refused());
        }
        let fresh = self.refresh_token();
        let users = self.users();
        match users.session_refresh(&slot, old, &fresh, self.now()).await.map_err(problem)? {
            Refreshed::New(user, facts) => self.user_session(project, user, facts, fresh).await,
            Refreshed::Refused => Err(refused()),
        }
    }

    /// Ends the sign-in of this token, or all of its user. Idempotent.
    ///
    /// # Errors
    /// As [`Plane::user_account`], but an ended sign-in is no error.
    pub async fn user_logout(&self, caller: &Caller, everywhere: bool) -> Result<(), Problem> {
        let (claims, slot) = self.user_claims(caller).await?;
        if everywhere {
            // A token that was copied before its sign-in ended must not end the others.
            let (account, _) = self.user_account(caller).await?;
            return self.users().sessions_end(&slot, account.user.id, self.now()).await.map_err(problem);
        }
        self.users().session_end(&slot, claims.session_id, self.now()).await.map_err(problem)
    }

    /// Changes the project's auth settings; all of them are returned.
    ///
    /// # Errors
    /// `UNAUTHORIZED` or `FORBIDDEN` without a service key; the lifecycle's refusals; `BAD_REQUEST` for a domain
    /// that is none.
    ///
    /// # Source
    /// Wire contract 04 section 2.13.
    pub async fn auth_settings(&self, caller: &Caller, change: SettingsChange) -> Result<Settings, Problem> {
        let (_, slot) = self.owner_change(caller).await?;
        let domains = change.allowed_email_domains.as_deref().unwrap_or_default();
        if domains.len() > EMAIL_DOMAINS_MAX || !domains.iter().all(|domain| is_domain(domain)) {
            let message =
                format!("allowed_email_domains are at most {EMAIL_DOMAINS_MAX} names such as example.org");
            return Err(Problem::new(Code::BadRequest, message));
        }
        self.users().settings_change(&slot, &change).await.map_err(problem)
    }

    /// The project of an anonymous request. A browser sends its user's token along, which says nothing here.
    async fn users_entry(&self, caller: &Caller) -> Result<(ProjectId, Slot), Problem> {
        let key = match caller.apikey {
            Some(_) => self.project_key(&Caller { bearer: None, ..caller.clone() }).await?,
            None => self.project_key(caller).await?,
        };
        self.data_call(key.project).await?;
        Ok((key.project, self.project_slot(key.project).await?))
    }

    /// Counts a try against the address and against who tries.
    fn users_try(&self, caller: &Caller, project: ProjectId, email: &str) -> Result<(), Problem> {
        self.client_try(caller)?;
        let account = Sha256::digest(format!("{project}/{email}")).into();
        self.inner.users.accounts.admit(account).map_err(too_many)
    }

    /// Counts a try against who tries.
    fn client_try(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(network) = client_network(&caller.client_ip) else { return Ok(()) };
        self.inner.users.clients.admit(network).map_err(too_many)
    }

    fn users(&self) -> &Users {
        &self.deps().users
    }

    /// Refuses a token of a project admin who is none any more, whose sign-in has ended, or which was not by
    /// passkey where the settings ask for one by now. A token without a sign-in was made by the project's own
    /// code, which decides by itself.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; `UNAVAILABLE`.
    pub(crate) async fn admin_still(
        &self,
        project: ProjectId,
        user: &str,
        session: &str,
    ) -> Result<(), Problem> {
        let wrong =
            || Problem::new(Code::Unauthorized, "the user is no project admin any more: sign in again");
        let user = user.parse().map_err(|_| wrong())?;
        let session = session.parse().map_err(|_| wrong())?;
        let slot = self.project_slot(project).await?;
        let stands = self.users().admin_stands(&slot, user, session).await.map_err(problem)?;
        if stands { Ok(()) } else { Err(wrong()) }
    }

    async fn user_claims(&self, caller: &Caller) -> Result<(Claims, Slot), Problem> {
        let wrong = || signed_out("the token does not verify or is over");
        let token = caller.bearer.as_deref().ok_or_else(|| signed_out("the request carries no token"))?;
        let project = keys::project_unverified(token).ok_or_else(wrong)?;
        let secrets = self.user_secrets(project).await?.ok_or_else(wrong)?;
        let now = self.deps().wall.now().timestamp();
        let claims = token::verify(token, &secrets, project, now).ok_or_else(wrong)?;
        if caller.apikey.is_some() {
            let key = self.project_key(&Caller { bearer: None, ..caller.clone() }).await?;
            if key.project != project {
                return Err(signed_out("token and apikey belong to two projects"));
            }
        }
        self.data_call(project).await?;
        Ok((claims, self.project_slot(project).await?))
    }

    /// Of a project that is there.
    async fn user_secrets(&self, project: ProjectId) -> Result<Option<Vec<Secret>>, Problem> {
        Ok(self.project_access(project).await?.map(|access| access.users.clone()))
    }

    async fn user_session(
        &self,
        project: ProjectId,
        user: User,
        facts: SessionFacts,
        refresh_token: String,
    ) -> Result<UserSession, Problem> {
        let secrets = self.user_secrets(project).await?.unwrap_or_default();
        let role = self.user_role(project, &user, &facts).await?;
        let subject = Subject {
            project,
            user: user.id,
            email: user.email.clone(),
            role,
            session: facts.id,
            amr: facts.amr,
            auth_time: facts.signed_in_at.timestamp(),
        };
        let now = self.deps().wall.now().timestamp();
        let access_token = secrets
            .first()
            .and_then(|secret| token::sign(subject, secret, now))
            .ok_or_else(|| Problem::new(Code::ProjectNotReady, "the project cannot sign tokens now"))?;
        Ok(UserSession { access_token, refresh_token, user, role, magic_link: None })
    }

    /// # Source
    /// Wire contract 04 section 2.4.
    async fn user_role(
        &self,
        project: ProjectId,
        user: &User,
        facts: &SessionFacts,
    ) -> Result<Role, Problem> {
        if !user.is_admin {
            return Ok(Role::Authenticated);
        }
        if facts.amr.iter().any(|method| method == "passkey") {
            return Ok(Role::ProjectAdmin);
        }
        let slot = self.project_slot(project).await?;
        let settings = self.users().settings_fetch(&slot).await.map_err(problem)?;
        Ok(if settings.require_passkey_for_project_admin { Role::Authenticated } else { Role::ProjectAdmin })
    }

    fn refresh_token(&self) -> String {
        format!("rt_{}", hex::encode(self.deps().entropy.secret()))
    }
}

/// Of version 4: ids of users and sessions do not tell when they were made.
fn random_uuid(bits: [u8; 32]) -> uuid::Uuid {
    let mut half = [0; 16];
    half.copy_from_slice(&bits[..16]);
    uuid::Builder::from_random_bytes(half).into_uuid()
}

fn password_fits(password: &str) -> Result<(), Problem> {
    if ::users::password::BYTES.contains(&password.len()) {
        return Ok(());
    }
    Err(Problem::new(Code::WeakPassword, "the password must have 8 to 256 bytes"))
}

fn is_domain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    (1..=DOMAIN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('.')
        && !text.ends_with('.')
}

fn too_many(secs: u64) -> Problem {
    Problem::new(Code::RateLimited, "too many tries").extra("retry_after", secs)
}

fn signed_out(why: &str) -> Problem {
    Problem::new(Code::UserTokenRequired, why)
}

fn problem(error: UsersError) -> Problem {
    match error {
        UsersError::Busy => Problem::new(Code::Unavailable, "too many sign-ins at once"),
        UsersError::Store(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "tenant database");
            Problem::new(Code::Unavailable, "the project's database did not answer")
        }
    }
}
