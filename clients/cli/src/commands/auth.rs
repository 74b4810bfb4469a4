//! `run402 auth`.

use client::Call;
use serde_json::{Map, Value, json};

use super::passkeys::Ceremony;
use super::{Outcome, ok};
use crate::context::Context;

#[derive(Debug, clap::Args)]
pub struct Project {
    /// The active project unless given.
    #[arg(long)]
    project: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Wanted {
    #[arg(long)]
    email: String,
    /// Make it a project admin or not; unchanged when left out.
    #[arg(long, value_name = "true|false")]
    admin: Option<bool>,
    /// Where an invitation leads.
    #[arg(long, value_name = "URL")]
    redirect: Option<String>,
    /// Given back to the page at the sign-in.
    #[arg(long, value_name = "TEXT")]
    state: Option<String>,
    #[command(flatten)]
    project: Project,
}

#[derive(Debug, clap::Subcommand)]
pub enum Auth {
    /// Mail a link or a code to sign in with.
    MagicLink {
        #[arg(long)]
        email: String,
        /// A page of the project; the token is added to its query.
        #[arg(long, value_name = "URL")]
        redirect: Option<String>,
        /// signin, invite, claim or recovery.
        #[arg(long)]
        intent: Option<String>,
        /// Given back to the page at the sign-in.
        #[arg(long, value_name = "TEXT")]
        state: Option<String>,
        /// link, code or both.
        #[arg(long)]
        delivery: Option<String>,
        #[command(flatten)]
        project: Project,
    },
    /// Trade the token of a mailed link for a session.
    Verify {
        #[arg(long)]
        token: String,
        #[command(flatten)]
        project: Project,
    },
    /// Set, change or reset a signed-in user's password.
    SetPassword {
        /// The user's.
        #[arg(long)]
        token: String,
        #[arg(long)]
        new: String,
        #[arg(long)]
        current: Option<String>,
    },
    /// Show what a project offers to sign in with.
    Providers(Project),
    /// Show the public keys of user tokens.
    JwtKeys(Project),
    #[command(flatten)]
    Passkey(Ceremony),
    /// Make a user, or change the one of that address.
    CreateUser {
        #[command(flatten)]
        wanted: Wanted,
        /// Mail the user a link that admits them; needs --redirect.
        #[arg(long)]
        invite: bool,
    },
    /// Make a user and mail an invitation.
    InviteUser(Wanted),
    /// List a project's users.
    Users {
        /// The id after which to go on.
        #[arg(long)]
        after: Option<String>,
        #[arg(long)]
        limit: Option<u32>,
        #[command(flatten)]
        project: Project,
    },
    /// Show one user.
    User {
        id: String,
        #[command(flatten)]
        project: Project,
    },
    /// Change what a project decides about its users.
    Settings {
        /// May users without a password set one?
        #[arg(long, value_name = "true|false")]
        allow_password_set: Option<bool>,
        /// password, magic_link, oauth_google, passkey, or null.
        #[arg(long, value_name = "METHOD")]
        preferred: Option<String>,
        /// open, known_email or invite_only.
        #[arg(long, value_name = "POLICY")]
        public_signup: Option<String>,
        /// Do project admins need a passkey for their role?
        #[arg(long, value_name = "true|false")]
        require_admin_passkey: Option<bool>,
        /// Domains that sign-ins with Google are limited to, with commas; none for all.
        #[arg(long, value_name = "DOMAINS")]
        allowed_email_domains: Option<String>,
        #[command(flatten)]
        project: Project,
    },
}

pub async fn run(command: Auth, context: &Context) -> Outcome {
    match command {
        Auth::MagicLink { email, redirect, intent, state, delivery, project } => {
            let keys = project.keys(context)?;
            // Only the owner may invite.
            let key = if intent.as_deref() == Some("invite") { keys.service } else { keys.anon };
            let body = given([
                ("email", Some(json!(email))),
                ("redirect_url", redirect.map(Value::from)),
                ("intent", intent.map(Value::from)),
                ("client_state", state.map(Value::from)),
                ("delivery", delivery.map(Value::from)),
            ]);
            call(context, Call::new("auth.magic_link").anon_key(&key).json(body)).await
        }
        Auth::Verify { token, project } => {
            let key = project.keys(context)?.anon;
            let verify = Call::new("auth.token").query("grant_type", "magic_link").anon_key(&key);
            call(context, verify.json(json!({ "token": token }))).await
        }
        Auth::SetPassword { token, new, current } => {
            let body =
                given([("new_password", Some(json!(new))), ("current_password", current.map(Value::from))]);
            call(context, Call::new("auth.password").user(&token).json(body)).await
        }
        Auth::Providers(project) => {
            let key = project.keys(context)?.anon;
            context.public()?.call(Call::new("auth.providers").anon_key(&key)).await
        }
        Auth::JwtKeys(project) => {
            let key = project.keys(context)?.service;
            context.public()?.call(Call::new("auth.jwt_keys").service_key(&key)).await
        }
        Auth::Passkey(command) => super::passkeys::run(command, context).await,
        Auth::CreateUser { wanted, invite } => want(wanted, invite, context).await,
        Auth::InviteUser(wanted) => want(wanted, true, context).await,
        Auth::Users { after, limit, project } => {
            let key = project.keys(context)?.service;
            let list = Call::new("auth.users.list").query_some("after", after).query_some("limit", limit);
            context.public()?.call(list.service_key(&key)).await
        }
        Auth::User { id, project } => {
            let key = project.keys(context)?.service;
            context.public()?.call(Call::new("auth.users.get").path("id", id).service_key(&key)).await
        }
        Auth::Settings {
            allow_password_set,
            preferred,
            public_signup,
            require_admin_passkey,
            allowed_email_domains,
            project,
        } => {
            let key = project.keys(context)?.service;
            let preferred = preferred.map(|word| if word == "null" { Value::Null } else { json!(word) });
            let body = given([
                ("allow_password_set", allow_password_set.map(Value::from)),
                ("preferred_sign_in_method", preferred),
                ("public_signup", public_signup.map(Value::from)),
                ("require_passkey_for_project_admin", require_admin_passkey.map(Value::from)),
                ("allowed_email_domains", allowed_email_domains.map(|all| domains(&all))),
            ]);
            call(context, Call::new("auth.settings").service_key(&key).json(body)).await
        }
    }
}

async fn want(wanted: Wanted, send_invite: bool, context: &Context) -> Outcome {
    let key = wanted.project.keys(context)?.service;
    let body = given([
        ("email", Some(json!(wanted.email))),
        ("is_admin", wanted.admin.map(Value::from)),
        ("send_invite", send_invite.then_some(json!(true))),
        ("redirect_url", wanted.redirect.map(Value::from)),
        ("client_state", wanted.state.map(Value::from)),
    ]);
    call(context, Call::new("auth.users.want").service_key(&key).json(body)).await
}

pub(super) struct Keys {
    pub anon: String,
    service: String,
}

impl Project {
    pub(super) fn keys(&self, context: &Context) -> Result<Keys, client::LocalError> {
        let (projects, id) = context.project(self.project.as_deref())?;
        let keys = projects.keys(&id)?;
        Ok(Keys { anon: keys.anon_key.to_owned(), service: keys.service_key.to_owned() })
    }
}

pub(super) async fn call(context: &Context, call: Call<'_>) -> Outcome {
    context.public()?.call(call).await.map(ok)
}

fn domains(all: &str) -> Value {
    all.split(',').map(str::trim).filter(|one| !one.is_empty()).collect()
}

/// An object of what there is.
pub(super) fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}
