//! What a wallet signs when it lets a CI provider's workflows deploy to a project: a sentence for people and a
//! URI for machines, both functions of the same values.

/// What is delegated. Every text is as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// `prj_` and 32 hex digits.
    pub project_id: String,
    /// Who signs the workflows' tokens, exactly as those name it.
    pub issuer: String,
    /// Whom those tokens are for.
    pub audience: String,
    /// The subject of the tokens, or its beginning and a `*`.
    pub subject_match: String,
    pub allowed_actions: Vec<String>,
    /// Sorted, each once.
    pub allowed_events: Vec<String>,
    /// Which routes a deploy may change; none unless named.
    pub route_scopes: Vec<String>,
    /// RFC 3339, never reformatted.
    pub expires_at: Option<String>,
    /// Digits.
    pub github_repository_id: Option<String>,
    /// 16 to 64 lower-case hex digits.
    pub nonce: String,
}

/// # Source
/// GitHub, "OpenID Connect reference": the issuer of every workflow's token.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
/// What published clients ask their tokens for, whatever server they deploy to.
///
/// # Source
/// Wire contract 02 section 8.
pub const CI_AUDIENCE: &str = "https://api.run402.com";
pub const CI_PROVIDER: &str = "github-actions";
/// The network that a delegation names; nothing happens on it.
pub const DELEGATION_CHAIN_ID: u64 = 84_532;

/// The sentences of our own client's text. Published clients have others, which the server knows by digest.
const FROM: &str = "Let workflows whose identity token has the subject ";
const TO: &str = " deploy to the Run402 project ";
const MAY: &str = "They may:";
const MAY_DEPLOY: &str = "- plan, upload and commit releases of this project: its site, its functions, its \
                          database migrations and its expose manifest.";
const MAY_ROUTE: &str = "- change the routes that lie within the route scopes named below.";
const MAY_NOT: &str = "They may not read secrets or keys, change names, users or billing, move money, or reach \
                       any other project.";
const END: &str = "This ends when you revoke it (run402 ci revoke), when it expires, or when the project is \
                   erased. Whoever can change the named repository's workflows can deploy: sign only if you trust \
                   them. No gas is spent and nothing is sent to a chain.";

impl Delegation {
    /// The one resource of the signed text.
    ///
    /// # Source
    /// Wire contract 02 section 8.1, "Canonical resource URI".
    pub fn resource_uri(&self) -> String {
        let list = |all: &[String]| all.iter().map(|one| encode(one)).collect::<Vec<_>>().join(",");
        let scopes = |all: &[String]| all.iter().map(|one| encode_scope(one)).collect::<Vec<_>>().join(",");
        let mut uri = format!(
            "run402-ci-delegation:v1?project_id={}&issuer={}&audience={}&subject_match={}&allowed_actions={}\
             &allowed_events={}",
            encode(&self.project_id),
            encode(&self.issuer),
            encode(&self.audience),
            encode(&self.subject_match),
            list(&self.allowed_actions),
            list(&self.allowed_events),
        );
        let optional = [
            ("route_scopes", (!self.route_scopes.is_empty()).then(|| scopes(&self.route_scopes))),
            ("expires_at", self.expires_at.as_deref().map(encode)),
            ("github_repository_id", self.github_repository_id.as_deref().map(encode)),
            ("nonce", Some(encode(&self.nonce))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                uri.push_str(&format!("&{name}={value}"));
            }
        }
        uri
    }

    /// The lines that name values, in the order of every template.
    ///
    /// # Source
    /// Wire contract 02 section 8.1, lines 8 to 12, and "Later clients".
    pub fn fact_lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("Audience: {}", self.audience),
            format!("Allowed events: {}", self.allowed_events.join(",")),
        ];
        if !self.route_scopes.is_empty() {
            lines.push(format!("Route scopes: {}", self.route_scopes.join(",")));
        }
        lines.extend([
            format!("Repository ID: {}", self.github_repository_id.as_deref().unwrap_or("none-soft-bound")),
            format!("Expires: {}", self.expires_at.as_deref().unwrap_or("never")),
            format!("Nonce: {}", self.nonce),
        ]);
        lines
    }

    /// What our own client shows and signs. Its first line also names the issuer, because a server may have
    /// another than GitHub's.
    pub fn statement(&self) -> String {
        let mut lines = vec![
            format!("{FROM}{}{TO}{}.", self.subject_match, self.project_id),
            String::new(),
            MAY.to_owned(),
            MAY_DEPLOY.to_owned(),
        ];
        if !self.route_scopes.is_empty() {
            lines.push(MAY_ROUTE.to_owned());
        }
        lines.extend([String::new(), MAY_NOT.to_owned(), String::new(), format!("Issuer: {}", self.issuer)]);
        lines.extend(self.fact_lines());
        lines.extend([String::new(), END.to_owned()]);
        lines.join("\n")
    }
}

/// As `encodeURIComponent` does, and `! ' ( ) *` as well.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A route scope keeps its `*`.
fn encode_scope(text: &str) -> String {
    encode(text).replace("%2A", "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Delegation {
        Delegation {
            project_id: "prj_demo1".to_owned(),
            issuer: GITHUB_ISSUER.to_owned(),
            audience: CI_AUDIENCE.to_owned(),
            subject_match: "repo:acme/shop:environment:prod".to_owned(),
            allowed_actions: vec!["deploy".to_owned()],
            allowed_events: vec!["push".to_owned(), "workflow_dispatch".to_owned()],
            route_scopes: Vec::new(),
            expires_at: None,
            github_repository_id: Some("4711".to_owned()),
            nonce: "00112233445566778899aabbccddeeff".to_owned(),
        }
    }

    // Wire contract 02 section 8.1, the example.
    #[test]
    fn the_resource_uri_is_the_published_one() {
        assert_eq!(
            example().resource_uri(),
            "run402-ci-delegation:v1?project_id=prj_demo1&issuer=https%3A%2F%2Ftoken.actions.githubusercontent.com\
             &audience=https%3A%2F%2Fapi.run402.com&subject_match=repo%3Aacme%2Fshop%3Aenvironment%3Aprod\
             &allowed_actions=deploy&allowed_events=push,workflow_dispatch&github_repository_id=4711\
             &nonce=00112233445566778899aabbccddeeff"
        );
        let more = Delegation {
            route_scopes: vec!["/api/*".to_owned()],
            expires_at: Some("2030-01-01T00:00:00Z".to_owned()),
            subject_match: "repo:a/b:*".to_owned(),
            ..example()
        };
        let uri = more.resource_uri();
        assert!(uri.contains("&subject_match=repo%3Aa%2Fb%3A%2A&"), "{uri}");
        assert!(
            uri.contains("&allowed_events=push,workflow_dispatch&route_scopes=%2Fapi%2F*&expires_at="),
            "{uri}"
        );
        assert!(
            uri.contains("&expires_at=2030-01-01T00%3A00%3A00Z&github_repository_id=4711&nonce="),
            "{uri}"
        );
    }

    #[test]
    fn the_statement_names_every_value() {
        let text = example().statement();
        for value in [
            "repo:acme/shop:environment:prod",
            "prj_demo1",
            "4711",
            "push,workflow_dispatch",
            "Expires: never",
        ] {
            assert!(text.contains(value), "{value}: {text}");
        }
        assert!(!text.contains("Route scopes"));
        assert!(text.lines().all(|line| !line.starts_with("URI: ")));
    }
}
