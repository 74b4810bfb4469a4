//! Tokens of users for functions whose library takes no secret.

use functions::{Call, LIBRARY_PACKAGE};
use store::projects::Secret;
use store::releases::ReleaseFunction;
use types::ProjectId;

/// From here on the published library knows users by ES256 alone.
///
/// # Source
/// Wire contract 03 section 6.3.
const MAJOR_MIN: u64 = 4;

/// A user's token becomes one that the function's library can read; anything else stays as it came. A visitor of a
/// site is none for that library whatever the bearer, and tables take the token that came.
///
/// # Source
/// Wire contract 03 sections 6.5 and 6.6.
pub(super) fn exchange(
    call: &mut Call,
    function: &ReleaseFunction,
    (project, secrets): (ProjectId, &[Secret]),
    now: i64,
) {
    if call.routed.is_some() || !takes_no_secret(function) {
        return;
    }
    let mut shown = call.headers.iter_mut().filter(|(name, _)| name == "authorization");
    let (Some((_, header)), None) = (shown.next(), shown.next()) else { return };
    let Some((scheme, token)) = header.split_once(' ') else { return };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return;
    }
    let Some(token) = users::token::exchanged(token.trim(), secrets, project, now) else { return };
    *header = format!("Bearer {token}");
    call.headers.push(("x-run402-actor-token".to_owned(), token));
}

/// Read where it stands: all of the source's files would be copied otherwise, with each call.
fn takes_no_secret(function: &ReleaseFunction) -> bool {
    let packages = function.source.get("files").and_then(|source| source.get("packages"));
    let version = packages.and_then(|all| all.get(LIBRARY_PACKAGE)).and_then(|version| version.as_str());
    let major = version.and_then(|version| version.split('.').next()?.parse::<u64>().ok());
    major.is_some_and(|major| major >= MAJOR_MIN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use chrono::DateTime;
    use serde_json::{Value, json};
    use types::{Entropy, OsEntropy, Sha256Hex};
    use users::token::{Role, Subject, sign};

    use super::*;
    use crate::deploy::{Content, Source};

    const NOW: i64 = 1_800_000_000;

    fn function(packages: &[(&str, &str)]) -> ReleaseFunction {
        let packages: BTreeMap<_, _> =
            packages.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
        let code_hash = Sha256Hex::from_bytes([1; 32]);
        let content = Content { sha256: code_hash.clone(), size: 4, content_type: String::new() };
        let source = crate::functions::packaged(content, packages);
        ReleaseFunction {
            name: "f".to_owned(),
            runtime: "node22".to_owned(),
            code_hash,
            timeout_seconds: 10,
            memory_mb: 128,
            schedule: None,
            triggers: Vec::new(),
            source: serde_json::to_value::<Source>(source).unwrap(),
        }
    }

    fn call(authorization: &[&str], routed: Option<Value>) -> Call {
        let headers = authorization.iter().map(|value| ("authorization".to_owned(), (*value).to_owned()));
        Call {
            request_id: "req_1".to_owned(),
            attempt_id: None,
            method: "GET".to_owned(),
            url: "http://x.test/".to_owned(),
            headers: headers.collect(),
            body: Bytes::new(),
            routed,
            depth: 0,
        }
    }

    // Contract 03 section 6.5. Goal: exactly what a library of that version needs and this project's user shows is
    // exchanged. Method: each of them wrong by itself.
    #[test]
    fn only_a_users_token_for_a_library_without_a_secret_is_exchanged() {
        let project = ProjectId::new(&OsEntropy);
        let secrets = [Secret { version: 1, bytes: vec![7; 32], created_at: DateTime::UNIX_EPOCH }];
        let token_of = |project| {
            let (user, session) = (OsEntropy.uuid(), OsEntropy.uuid());
            let (email, role) = ("a@b.test".to_owned(), Role::Authenticated);
            let subject = Subject { project, user, email, role, session, amr: Vec::new(), auth_time: NOW };
            format!("Bearer {}", sign(subject, &secrets[0], NOW).unwrap())
        };
        let (own, foreign) = (token_of(project), token_of(ProjectId::new(&OsEntropy)));
        let newest = [(LIBRARY_PACKAGE, "4.0.0")];
        let changed = |packages: &[(&str, &str)], shown: &[&str], routed, now| {
            let before = call(shown, routed);
            let mut after = before.clone();
            exchange(&mut after, &function(packages), (project, &secrets), now);
            (before.headers != after.headers).then_some(after.headers)
        };
        let headers = changed(&newest, &[&own], None, NOW).expect("a user's token");
        assert_eq!(headers[0].1, format!("Bearer {}", headers[1].1));
        assert_eq!(headers[1].0, "x-run402-actor-token");
        let again = changed(&newest, &[&headers[0].1], None, NOW).expect("one that was exchanged before");
        assert_eq!(again.len(), 2);
        for packages in [[(LIBRARY_PACKAGE, "10.1.0-beta.1")], [(LIBRARY_PACKAGE, "4.2.1")]] {
            assert!(changed(&packages, &[&own], None, NOW).is_some(), "{packages:?}");
        }
        for packages in [&[(LIBRARY_PACKAGE, "3.13.0")], &[("zod", "4.0.0")], &[][..]] {
            assert_eq!(changed(packages, &[&own], None, NOW), None, "{packages:?}");
        }
        for shown in
            [&[foreign.as_str()], &["Basic eDp5"], &["Bearer x"], &["Bearer"], &[][..], &[&own, &own]]
        {
            assert_eq!(changed(&newest, shown, None, NOW), None, "{shown:?}");
        }
        assert_eq!(changed(&newest, &[&own], None, NOW + users::token::ACCESS_SECS), None, "it is over");
        assert_eq!(changed(&newest, &[&own], Some(json!({})), NOW), None, "by a route");
    }
}
