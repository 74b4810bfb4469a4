//! The words of `run402 auth` for passkeys: both ceremonies by hand.

use client::Call;
use serde_json::{Value, json};

use super::Outcome;
use super::auth::{Project, call, given};
use crate::context::Context;

#[derive(Debug, clap::Args)]
pub struct PasskeyAnswer {
    /// Of the options.
    #[arg(long, value_name = "CHALLENGE_ID")]
    challenge: String,
    /// What the browser answered, as JSON.
    #[arg(long, value_name = "JSON")]
    response: String,
}

#[derive(Debug, clap::Subcommand)]
pub enum Ceremony {
    /// Begin to register a passkey: options for navigator.credentials.create.
    PasskeyRegisterOptions {
        /// The user's access token.
        #[arg(long)]
        token: String,
        /// The origin of the page, such as https://my-app.example.
        #[arg(long, value_name = "ORIGIN")]
        app_origin: String,
    },
    /// Keep the passkey that the browser made.
    PasskeyRegisterVerify {
        #[arg(long)]
        token: String,
        #[command(flatten)]
        answer: PasskeyAnswer,
        /// A name for the passkey.
        #[arg(long)]
        label: Option<String>,
    },
    /// Begin a sign-in by passkey: options for navigator.credentials.get.
    PasskeyLoginOptions {
        #[arg(long, value_name = "ORIGIN")]
        app_origin: String,
        /// A hint; the answer does not depend on it.
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        project: Project,
    },
    /// Trade a passkey's answer for a session.
    PasskeyLoginVerify {
        #[command(flatten)]
        answer: PasskeyAnswer,
        #[command(flatten)]
        project: Project,
    },
    /// List a signed-in user's passkeys.
    Passkeys {
        #[arg(long)]
        token: String,
    },
    /// Remove a signed-in user's passkey and end what it signed in.
    DeletePasskey {
        #[arg(long)]
        token: String,
        id: String,
    },
}

pub async fn run(command: Ceremony, context: &Context) -> Outcome {
    match command {
        Ceremony::PasskeyRegisterOptions { token, app_origin } => {
            let begin = Call::new("auth.passkeys.register_options").user(&token);
            context.public()?.call(begin.json(json!({ "app_origin": app_origin }))).await
        }
        Ceremony::PasskeyRegisterVerify { token, answer, label } => {
            let verify = Call::new("auth.passkeys.register").user(&token);
            call(context, verify.json(answer.body(label)?)).await
        }
        Ceremony::PasskeyLoginOptions { app_origin, email, project } => {
            let key = project.keys(context)?.anon;
            let body = given([("app_origin", Some(json!(app_origin))), ("email", email.map(Value::from))]);
            let begin = Call::new("auth.passkeys.login_options").anon_key(&key);
            context.public()?.call(begin.json(body)).await
        }
        Ceremony::PasskeyLoginVerify { answer, project } => {
            let key = project.keys(context)?.anon;
            let verify = Call::new("auth.passkeys.login").anon_key(&key);
            call(context, verify.json(answer.body(None)?)).await
        }
        Ceremony::Passkeys { token } => {
            context.public()?.call(Call::new("auth.passkeys.list").user(&token)).await
        }
        Ceremony::DeletePasskey { token, id } => {
            call(context, Call::new("auth.passkeys.remove").path("id", id).user(&token)).await
        }
    }
}

impl PasskeyAnswer {
    fn body(self, label: Option<String>) -> Result<Value, client::LocalError> {
        let response: Value = serde_json::from_str(&self.response)
            .map_err(|e| client::LocalError::new("BAD_CALL", format!("--response is no JSON: {e}")))?;
        Ok(given([
            ("challenge_id", Some(json!(self.challenge))),
            ("response", Some(response)),
            ("label", label.map(Value::from)),
        ]))
    }
}
