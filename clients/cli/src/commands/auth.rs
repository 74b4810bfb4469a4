//! `run402 auth`.

use client::Call;
use serde_json::{Map, Value, json};

use super::{Outcome, ok};
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Auth {
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
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
}

pub async fn run(command: Auth, context: &Context) -> Outcome {
    let client = context.public()?;
    match command {
        Auth::Settings { allow_password_set, preferred, public_signup, require_admin_passkey, project } => {
            let (projects, id) = context.project(project.as_deref())?;
            let preferred = preferred.map(|word| if word == "null" { Value::Null } else { json!(word) });
            let given = [
                ("allow_password_set", allow_password_set.map(Value::from)),
                ("preferred_sign_in_method", preferred),
                ("public_signup", public_signup.map(Value::from)),
                ("require_passkey_for_project_admin", require_admin_passkey.map(Value::from)),
            ];
            let body: Map<String, Value> =
                given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            let call = Call::new("auth.settings").service_key(projects.keys(&id)?.service_key);
            client.call(call.json(Value::Object(body))).await.map(ok)
        }
    }
}
