//! What the standard asks of the two ceremonies, without a database. `webauthn-rs` judges challenge, origin,
//! host, signature, presence and verification of the user; what it leaves open is decided here.

use serde::Deserialize;
use serde_json::Value;
use url::Url;
use uuid::Uuid;
use webauthn_rs::prelude::{
    Credential, DiscoverableAuthentication, ParsedAttestation, Passkey, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, Webauthn, WebauthnBuilder, WebauthnError,
};

/// A browser's answer has about 1,500 bytes, with attestation some thousands.
const RESPONSE_BYTES_MAX: usize = 65_536;

/// Where a passkey is at home.
#[derive(Debug, Clone)]
pub struct Realm {
    /// Of the page, and nothing more than an origin.
    pub origin: Url,
    /// What a browser may show.
    pub name: String,
}

impl Realm {
    /// The exact host: a passkey of one name of a project is none of another's.
    pub fn rp_id(&self) -> &str {
        self.origin.host_str().unwrap_or_default()
    }

    /// As browsers write it.
    pub fn origin_text(&self) -> String {
        self.origin.origin().ascii_serialization()
    }

    fn webauthn(&self) -> Result<Webauthn, WebauthnError> {
        WebauthnBuilder::new(self.rp_id(), &self.origin)?.rp_name(&self.name).build()
    }
}

/// Why a passkey was not taken, in words for whoever develops the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Failed(String),
    /// Its counter does not go up.
    Copied,
}

impl From<WebauthnError> for Refused {
    fn from(error: WebauthnError) -> Self {
        match error {
            WebauthnError::CredentialPossibleCompromise => Self::Copied,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("this is no answer of navigator.credentials: {error}"))
    }
}

/// A ceremony that has begun: what the browser gets, and what is kept.
pub(crate) struct Begun {
    pub options: Value,
    pub state: Value,
}

/// Who registers.
pub(crate) struct Registrant<'a> {
    pub handle: Uuid,
    pub name: &'a str,
    pub display_name: &'a str,
    /// Ids of credentials that the user has here.
    pub known: Vec<Vec<u8>>,
}

pub(crate) fn register_begin(realm: &Realm, who: Registrant<'_>) -> Result<Begun, Refused> {
    let webauthn = realm.webauthn()?;
    let (challenge, state) =
        webauthn.start_passkey_registration(who.handle, who.name, who.display_name, Some(who.known))?;
    let mut options = serde_json::to_value(challenge.public_key)?;
    // Signing in names no credential, so one that the authenticator does not keep could never be used.
    options["authenticatorSelection"]["residentKey"] = "preferred".into();
    Ok(Begun { options, state: serde_json::to_value(state)? })
}

/// A credential as it is kept, with what is shown of it.
pub(crate) struct Registered {
    pub passkey: Passkey,
    pub transports: Vec<String>,
}

pub(crate) fn register_end(realm: &Realm, state: Value, response: &Value) -> Result<Registered, Refused> {
    let answer: RegisterPublicKeyCredential = read(response)?;
    if answer.extensions.cred_props.as_ref().and_then(|props| props.rk) == Some(false) {
        let why = "the authenticator did not keep the passkey, so it could never be found at a sign-in";
        return Err(Refused::Failed(why.to_owned()));
    }
    let state: PasskeyRegistration = serde_json::from_value(state)?;
    let passkey = realm.webauthn()?.finish_passkey_registration(&answer, &state)?;
    let mut credential = Credential::from(passkey);
    // Nobody asked for it, nothing is decided by it, and it may tell which device this is.
    credential.attestation = ParsedAttestation::default();
    let transports = answer.response.transports.unwrap_or_default();
    let transports =
        transports.iter().filter_map(|one| Some(serde_json::to_value(one).ok()?.as_str()?.to_owned()));
    Ok(Registered { passkey: credential.into(), transports: transports.filter(|t| t != "unknown").collect() })
}

pub(crate) fn login_begin(realm: &Realm) -> Result<Begun, Refused> {
    let (challenge, state) = realm.webauthn()?.start_discoverable_authentication()?;
    let mut options = serde_json::to_value(challenge.public_key)?;
    // A list of credentials, even an empty one, would be about an account.
    if let Some(options) = options.as_object_mut() {
        options.remove("allowCredentials");
    }
    Ok(Begun { options, state: serde_json::to_value(state)? })
}

/// An answer that names a credential and its user, both still to be believed.
pub(crate) struct Assertion {
    answer: PublicKeyCredential,
    pub handle: Uuid,
}

impl Assertion {
    pub fn read(response: &Value) -> Result<Self, Refused> {
        let answer: PublicKeyCredential = read(response)?;
        // The library looks at this in registrations only: a page in somebody else's frame does not sign in.
        #[derive(Deserialize)]
        struct ClientData {
            #[serde(rename = "crossOrigin", default)]
            cross_origin: bool,
        }
        let client: ClientData = serde_json::from_slice(&answer.response.client_data_json)?;
        if client.cross_origin {
            return Err(Refused::Failed("the page is in a frame of another origin".to_owned()));
        }
        let handle = answer.get_user_unique_id().and_then(|bytes| Uuid::from_slice(bytes).ok());
        let handle = handle.ok_or_else(|| Refused::Failed("the answer has no user handle".to_owned()))?;
        Ok(Self { answer, handle })
    }

    pub fn credential_id(&self) -> &[u8] {
        self.answer.get_credential_id()
    }
}

/// Judges an answer by the credential that it names, whose counter and flags it brings up to date.
pub(crate) fn login_end(
    realm: &Realm,
    state: Value,
    assertion: &Assertion,
    passkey: &mut Passkey,
) -> Result<(), Refused> {
    let state: DiscoverableAuthentication = serde_json::from_value(state)?;
    let judged =
        realm.webauthn()?.finish_discoverable_authentication_v2(&assertion.answer, state, &*passkey)?;
    passkey.update_credential(&judged);
    Ok(())
}

/// `(may be on several devices, is kept elsewhere too)`
pub(crate) fn backup(passkey: &Passkey) -> (bool, bool) {
    let credential = Credential::from(passkey.clone());
    (credential.backup_eligible, credential.backup_state)
}

fn read<T: for<'de> Deserialize<'de>>(response: &Value) -> Result<T, Refused> {
    // Nesting is bounded by the parser that made the value.
    if response.to_string().len() > RESPONSE_BYTES_MAX {
        return Err(Refused::Failed(format!("the response is larger than {RESPONSE_BYTES_MAX} bytes")));
    }
    Ok(T::deserialize(response)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm() -> Realm {
        let origin = Url::parse("http://my-app.localhost:4020").unwrap();
        Realm { origin, name: "My app".into() }
    }

    #[test]
    fn options_ask_for_what_signing_in_needs() {
        let who = Registrant {
            handle: Uuid::from_u128(7),
            name: "ada@b.test",
            display_name: "Ada",
            known: vec![vec![1, 2, 3]],
        };
        let begun = register_begin(&realm(), who).unwrap();
        let options = &begun.options;
        assert_eq!(options["rp"], serde_json::json!({ "name": "My app", "id": "my-app.localhost" }));
        assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
        assert_eq!(options["authenticatorSelection"]["residentKey"], "preferred");
        assert_eq!(options["authenticatorSelection"]["requireResidentKey"], false);
        assert_eq!(options["excludeCredentials"][0]["id"], "AQID");
        assert_eq!(options["timeout"], 300_000);
        let login = login_begin(&realm()).unwrap();
        assert_eq!(login.options["rpId"], "my-app.localhost");
        assert_eq!(login.options["userVerification"], "required");
        assert!(login.options.get("allowCredentials").is_none(), "{}", login.options);
        assert_ne!(login.options["challenge"], login_begin(&realm()).unwrap().options["challenge"]);
    }

    #[test]
    fn what_is_no_answer_is_refused_in_words() {
        for response in [
            serde_json::json!(null),
            serde_json::json!({ "id": 7 }),
            serde_json::json!({ "x": "y".repeat(RESPONSE_BYTES_MAX) }),
        ] {
            let state = register_begin(
                &realm(),
                Registrant { handle: Uuid::from_u128(7), name: "a", display_name: "a", known: vec![] },
            );
            let done = register_end(&realm(), state.unwrap().state, &response);
            assert!(matches!(done, Err(Refused::Failed(_))));
            assert!(Assertion::read(&response).is_err());
        }
    }
}
