//! One call of a catalogue operation, before it is sent.

use catalogue::{Auth, Kind, Media, Method, Operation, Place};
use serde_json::{Value, json};

use crate::LocalError;

/// Who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    None,
    /// The client's wallet signs the request.
    Wallet,
    ServiceKey(&'a str),
    AnonKey(&'a str),
    /// The access token of a project's user.
    User(&'a str),
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Unset,
    Json(Value),
    Text(String),
}

/// An operation with its values. Made with [`Call::new`], sent with `Client::call`.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    operation: &'a str,
    path: Vec<(&'a str, String)>,
    query: Vec<(&'a str, String)>,
    raw_query: &'a str,
    headers: Vec<(&'a str, String)>,
    body: Body,
    credential: Credential<'a>,
    verb: Option<Method>,
    /// Path parameters that go into the URL as they are.
    raw_path: Vec<&'a str>,
}

impl<'a> Call<'a> {
    /// `operation` is an id of the catalogue.
    pub fn new(operation: &'a str) -> Self {
        let (path, query, headers) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            operation,
            path,
            query,
            raw_query: "",
            headers,
            body: Body::Unset,
            credential: Credential::None,
            verb: None,
            raw_path: Vec::new(),
        }
    }
    pub fn path(mut self, name: &'a str, value: impl ToString) -> Self {
        self.path.push((name, value.to_string()));
        self
    }
    /// A path parameter that may hold further segments and a query of its own.
    pub fn raw_path(mut self, name: &'a str, value: impl ToString) -> Self {
        self.raw_path.push(name);
        self.path(name, value)
    }
    /// Another method than the catalogue's, for operations that take every method. What is no method changes
    /// nothing.
    pub fn verb(mut self, method: &str) -> Self {
        let all = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];
        self.verb = all.into_iter().find(|one| one.as_str() == method);
        self
    }
    pub fn query(mut self, name: &'a str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }
    /// A query string as it is, for routes whose parameters are columns of a table.
    pub fn raw_query(mut self, query: &'a str) -> Self {
        self.raw_query = query;
        self
    }
    /// Adds the parameter when there is a value.
    pub fn query_some(self, name: &'a str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }
    pub fn header(mut self, name: &'a str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
    pub fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }
    pub fn text(mut self, body: impl Into<String>) -> Self {
        self.body = Body::Text(body.into());
        self
    }
    pub fn credential(mut self, credential: Credential<'a>) -> Self {
        self.credential = credential;
        self
    }
    /// The client's wallet signs.
    pub fn wallet(self) -> Self {
        self.credential(Credential::Wallet)
    }
    pub fn service_key(self, key: &'a str) -> Self {
        self.credential(Credential::ServiceKey(key))
    }
    pub fn anon_key(self, key: &'a str) -> Self {
        self.credential(Credential::AnonKey(key))
    }
    pub fn user(self, access_token: &'a str) -> Self {
        self.credential(Credential::User(access_token))
    }
}

/// A call whose every byte is fixed but the signatures.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub operation: &'static Operation,
    pub method: Method,
    /// From the root, with the query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub signed: bool,
}

impl Call<'_> {
    /// Checks the call against the catalogue and lays it out.
    ///
    /// # Errors `BAD_CALL`: an unknown operation, a parameter that is missing or not declared, a credential
    /// of the wrong kind.
    pub(crate) fn draft(self) -> Result<Draft, LocalError> {
        let bad = |why: String| LocalError::new("BAD_CALL", format!("{}: {why}", self.operation));
        let operation =
            catalogue::find(self.operation).ok_or_else(|| bad("is not in the catalogue".to_owned()))?;
        if !accepts(operation.auth, self.credential) {
            return Err(bad("needs another credential".to_owned()));
        }
        let target = self.target(operation).map_err(bad)?;
        let signed = self.credential == Credential::Wallet;
        let mut headers: Vec<(String, String)> =
            self.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        match self.credential {
            Credential::None | Credential::Wallet => {}
            Credential::ServiceKey(key) | Credential::User(key) => {
                headers.push(("authorization".to_owned(), format!("Bearer {key}")))
            }
            Credential::AnonKey(key) => headers.push(("apikey".to_owned(), key.to_owned())),
        }
        let body = match self.body {
            Body::Text(text) => Some(("text/plain", text.into_bytes())),
            Body::Json(value) => Some(("application/json", value.to_string().into_bytes())),
            // The published client sends an empty object where it has nothing to say.
            Body::Unset if operation.request == Media::Json => {
                Some(("application/json", json!({}).to_string().into_bytes()))
            }
            Body::Unset => None,
        };
        if let Some((media, _)) = &body {
            headers.push(("content-type".to_owned(), (*media).to_owned()));
        }
        let body = body.map(|(_, bytes)| bytes);
        let method = self.verb.unwrap_or(operation.method);
        Ok(Draft { operation, method, target, headers, body, signed })
    }

    fn target(&self, operation: &Operation) -> Result<String, String> {
        let mut target = operation.path.to_owned();
        for param in operation.params_in(Place::Path) {
            let value = self.path.iter().find(|(name, _)| *name == param.name);
            let value = value.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| format!("{} is missing", param.name))?;
            let encoded = match param.kind {
                _ if self.raw_path.contains(&param.name) => raw(value),
                Kind::Segments => value.split('/').map(encode).collect::<Vec<_>>().join("/"),
                _ => encode(value),
            };
            target = target.replace(&format!("{{{}}}", param.name), &encoded);
        }
        for (index, (name, value)) in self.query.iter().enumerate() {
            if !operation.params_in(Place::Query).any(|param| param.name == *name) {
                return Err(format!("{name} is not a query parameter"));
            }
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&format!("{name}={}", encode(value)));
        }
        if !self.raw_query.is_empty() {
            target.push(if self.query.is_empty() { '?' } else { '&' });
            target.push_str(&raw(self.raw_query));
        }
        Ok(target)
    }
}

fn accepts(auth: Auth, credential: Credential<'_>) -> bool {
    use Credential::{AnonKey, ServiceKey, User, Wallet};
    match auth {
        Auth::None => true,
        Auth::Wallet | Auth::Admin => credential == Wallet,
        Auth::ServiceKey => matches!(credential, ServiceKey(_)),
        Auth::AnonOrUser => matches!(credential, AnonKey(_)),
        Auth::AnonKey => matches!(credential, AnonKey(_) | ServiceKey(_)),
        Auth::User => matches!(credential, User(_)),
        Auth::AnonOrWallet => matches!(credential, AnonKey(_) | ServiceKey(_) | Wallet),
    }
}

/// Encodes only what may not stand in a query string at all, so that what is encoded already stays as it is.
fn raw(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for byte in query.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'#' | b'`' | b'{' | b'}' | b'^' | b'|' | b'\\' => {
                out.push_str(&format!("%{byte:02X}"))
            }
            _ if byte.is_ascii_graphic() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Percent-encodes everything but the unreserved characters, so that a value is one segment or one parameter.
/// A segment of dots only would be taken for a step up the path: its dots are encoded too.
pub fn encode(value: &str) -> String {
    let dots = value.bytes().all(|byte| byte == b'.');
    let plain = |byte: u8| match byte {
        b'.' => !dots,
        _ => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'),
    };
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match plain(byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_place_in_the_target() {
        let call = Call::new("billing.history").path("identifier", "a b/c@d.e").query("limit", 5);
        assert_eq!(call.draft().unwrap().target, "/billing/v1/accounts/a%20b%2Fc%40d.e/history?limit=5");
        let draft = Call::new("tiers.set").path("tier", "..").wallet().draft().unwrap();
        assert_eq!(draft.target, "/tiers/v1/%2E%2E");
        assert_eq!(draft.body.as_deref(), Some(b"{}".as_slice()));
        assert!(draft.signed);
    }

    #[test]
    fn a_raw_query_keeps_its_escapes_and_loses_what_no_target_may_hold() {
        let call = Call::new("rest.read")
            .path("table", "items")
            .raw_query("name=eq.a%20b&c=eq.\"x y\"")
            .anon_key("a");
        assert_eq!(call.draft().unwrap().target, "/rest/v1/items?name=eq.a%20b&c=eq.%22x%20y%22");
        assert!(Call::new("rest.read").path("table", "items").service_key("s").draft().is_err());
    }

    #[test]
    fn a_call_that_does_not_fit_the_catalogue_is_not_sent() {
        let cases = [
            Call::new("tiers.get"),
            Call::new("tiers.set").path("tier", "hobby"),
            Call::new("tiers.set").wallet(),
            Call::new("tiers.set").path("tier", "").wallet(),
            Call::new("tiers.list").query("limit", 1),
            Call::new("projects.usage").path("id", "prj_1").anon_key("k"),
            Call::new("content.plans.commit").path("id", "cplan_1").wallet(),
        ];
        for call in cases {
            assert_eq!(call.draft().unwrap_err().code, "BAD_CALL");
        }
    }

    #[test]
    fn keys_travel_where_each_route_reads_them() {
        let header = |draft: &Draft, name: &str| {
            draft.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
        };
        let sql = Call::new("projects.sql").path("id", "prj_1").service_key("s").text("select 1");
        let sql = sql.draft().unwrap();
        assert_eq!(header(&sql, "authorization").as_deref(), Some("Bearer s"));
        assert_eq!(header(&sql, "content-type").as_deref(), Some("text/plain"));
        let resume = Call::new("deploy.operations.resume").path("id", "op_1").wallet().draft().unwrap();
        assert_eq!((resume.body, header(&sql, "apikey")), (None, None));
        let list = Call::new("deploy.operations.list").anon_key("a").draft().unwrap();
        assert_eq!(header(&list, "apikey").as_deref(), Some("a"));
    }
}
