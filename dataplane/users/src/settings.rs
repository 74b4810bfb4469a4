//! What a project decides about its users.

use serde::{Deserialize, Deserializer, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use store::During;
use store::cells::Slot;

use crate::{Users, UsersError};

/// Who may become a user by a public request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signup {
    Open,
    KnownEmail,
    InviteOnly,
}

impl Signup {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::KnownEmail => "known_email",
            Self::InviteOnly => "invite_only",
        }
    }

    fn read(text: &str) -> Result<Self, sqlx::Error> {
        let known =
            [Self::Open, Self::KnownEmail, Self::InviteOnly].into_iter().find(|one| one.as_str() == text);
        known.ok_or_else(|| sqlx::Error::Decode(format!("no sign-up policy: {text}").into()))
    }
}

/// How people of a project like to sign in: a hint for its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Password,
    MagicLink,
    OauthGoogle,
    Passkey,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::MagicLink => "magic_link",
            Self::OauthGoogle => "oauth_google",
            Self::Passkey => "passkey",
        }
    }
}

/// # Source
/// Wire contract 04 section 2.2.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    pub allow_password_set: bool,
    pub preferred_sign_in_method: Option<String>,
    pub public_signup: Signup,
    pub require_passkey_for_project_admin: bool,
    pub allowed_email_domains: Vec<String>,
}

/// What to change; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    pub allow_password_set: Option<bool>,
    /// Null clears it.
    #[serde(default, deserialize_with = "given")]
    pub preferred_sign_in_method: Option<Option<Method>>,
    pub public_signup: Option<Signup>,
    pub require_passkey_for_project_admin: Option<bool>,
    pub allowed_email_domains: Option<Vec<String>>,
}

fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Method>>, D::Error> {
    Option::<Method>::deserialize(from).map(Some)
}

pub(crate) fn settings(row: &PgRow) -> Result<Settings, sqlx::Error> {
    Ok(Settings {
        allow_password_set: row.try_get("allow_password_set")?,
        preferred_sign_in_method: row.try_get("preferred_sign_in_method")?,
        public_signup: Signup::read(row.try_get("public_signup")?)?,
        require_passkey_for_project_admin: row.try_get("require_passkey_for_project_admin")?,
        allowed_email_domains: row.try_get("allowed_email_domains")?,
    })
}

impl Users {
    /// Changes what is given and returns all of it.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn settings_change(
        &self,
        slot: &Slot,
        change: &SettingsChange,
    ) -> Result<Settings, UsersError> {
        let mut session = self.open(slot).await?;
        let preferred = change.preferred_sign_in_method;
        let changed = sqlx::query(
            "update auth.settings set
               allow_password_set = coalesce($1, allow_password_set),
               preferred_sign_in_method = case when $2 then $3 else preferred_sign_in_method end,
               public_signup = coalesce($4, public_signup),
               require_passkey_for_project_admin = coalesce($5, require_passkey_for_project_admin),
               allowed_email_domains = coalesce($6, allowed_email_domains)
             returning *",
        )
        .bind(change.allow_password_set)
        .bind(preferred.is_some())
        .bind(preferred.flatten().map(Method::as_str))
        .bind(change.public_signup.map(Signup::as_str))
        .bind(change.require_passkey_for_project_admin)
        .bind(&change.allowed_email_domains)
        .fetch_one(&mut session.conn)
        .await
        .and_then(|row| settings(&row))
        .during("change the auth settings");
        session.close().await;
        Ok(changed?)
    }

    /// # Errors
    /// As [`Users::settings_change`].
    pub async fn settings_fetch(&self, slot: &Slot) -> Result<Settings, UsersError> {
        let mut session = self.open(slot).await?;
        let found = sqlx::query("select * from auth.settings")
            .fetch_one(&mut session.conn)
            .await
            .and_then(|row| settings(&row))
            .during("read the auth settings");
        session.close().await;
        Ok(found?)
    }
}
