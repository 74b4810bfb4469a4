use chrono::{TimeDelta, TimeZone};
use serde_json::json;
use types::delegation::{CI_AUDIENCE, GITHUB_ISSUER};
use types::{CiBindingId, OsEntropy, ProjectId};

use super::*;

fn now() -> DateTime<Utc> {
    Utc.timestamp_opt(1_900_000_000, 0).unwrap()
}

fn claims() -> Claims {
    Claims {
        iss: GITHUB_ISSUER.to_owned(),
        aud: json!(CI_AUDIENCE),
        exp: now().timestamp() + 300,
        iat: now().timestamp(),
        nbf: Some(now().timestamp() - 300),
        sub: "repo:acme/shop:ref:refs/heads/main".to_owned(),
        jti: Some("j-1".to_owned()),
        repository: Some("acme/shop".to_owned()),
        repository_id: Some("4711".to_owned()),
        r#ref: Some("refs/heads/main".to_owned()),
        environment: None,
        event_name: Some("push".to_owned()),
    }
}

fn binding(subject: &str) -> Binding {
    Binding {
        id: CiBindingId::new(&OsEntropy),
        project: ProjectId::new(&OsEntropy),
        issuer: GITHUB_ISSUER.to_owned(),
        audience: CI_AUDIENCE.to_owned(),
        subject_match: subject.to_owned(),
        allowed_events: vec!["push".to_owned()],
        route_scopes: Vec::new(),
        github_repository_id: None,
        expires: None,
        nonce: String::new(),
        created_by: String::new(),
        delegation: Value::Null,
        created_at: now(),
        revoked_at: None,
        last_used_at: None,
        use_count: 0,
    }
}

fn chosen(bindings: &[Binding], claims: &Claims) -> Result<String, Code> {
    choose(bindings, claims, now()).map(|found| found.subject_match.clone()).map_err(|e| e.code)
}

// H03: exact issuer, exact audience, time, an id of its own.
#[test]
fn a_token_counts_for_us_and_now_only() {
    let audiences = [CI_AUDIENCE.to_owned()];
    let check = |claims: &Claims| claims.check(GITHUB_ISSUER, &audiences, now()).map_err(|e| e.code);
    assert_eq!(check(&claims()), Ok(()));
    assert_eq!(check(&Claims { aud: json!([CI_AUDIENCE]), ..claims() }), Ok(()));
    let at = now().timestamp();
    for wrong in [
        Claims { iss: format!("{GITHUB_ISSUER}/"), ..claims() },
        Claims { iss: "https://token.actions.githubusercontent.com.evil.test".to_owned(), ..claims() },
        Claims { iss: GITHUB_ISSUER.to_uppercase(), ..claims() },
        Claims { aud: json!("https://api.run402.com/"), ..claims() },
        Claims { aud: json!([CI_AUDIENCE, "https://other.test"]), ..claims() },
        Claims { aud: json!(null), ..claims() },
        Claims { exp: at - 61, ..claims() },
        Claims { iat: at + 61, ..claims() },
        Claims { nbf: Some(at + 61), ..claims() },
        Claims { jti: None, ..claims() },
        Claims { jti: Some(String::new()), ..claims() },
    ] {
        assert_eq!(check(&wrong), Err(Code::CiInvalidToken), "{wrong:?}");
    }
    let huge = Claims { exp: i64::MAX, ..claims() };
    assert_eq!(check(&huge), Ok(()), "and nothing overflows");
}

// H03: wildcards of subjects.
#[test]
fn a_wildcard_begins_after_an_owner() {
    for good in [
        "repo:acme/shop:ref:refs/heads/main",
        "repo:acme/shop:environment:prod",
        "repo:acme/shop:*",
        "repo:acme/shop:ref:refs/heads/*",
        "repo:acme/*",
        "job_workflow_ref:acme/ci/.github/workflows/deploy.yml@refs/heads/main",
    ] {
        assert_eq!(check_subject(good), Ok(()), "{good}");
    }
    let long = format!("repo:a/{}", "x".repeat(250));
    for bad in [
        "",
        "*",
        "repo:*",
        "repo:acme*",
        "repo:/*",
        "r*",
        "repo:a*/b",
        "repo:acme/*:ref",
        "repo:a:b/*",
        "a\nb",
        &long,
    ] {
        assert!(check_subject(bad).is_err(), "{bad}");
    }
}

// H03: repository, ref, environment, forks.
#[test]
fn the_narrowest_binding_decides() {
    let (exact, branch, all) = (
        binding("repo:acme/shop:ref:refs/heads/main"),
        binding("repo:acme/shop:ref:*"),
        binding("repo:acme/shop:*"),
    );
    let everything = [all.clone(), exact.clone(), branch.clone()];
    assert_eq!(chosen(&everything, &claims()), Ok(exact.subject_match.clone()));
    assert_eq!(chosen(&[all.clone(), branch.clone()], &claims()), Ok(branch.subject_match.clone()));
    // The narrow one says no, and the wide one is not asked.
    let strict = Binding { allowed_events: vec!["workflow_dispatch".to_owned()], ..exact.clone() };
    assert_eq!(chosen(&[all.clone(), strict], &claims()), Err(Code::CiEventNotAllowed));
    assert_eq!(chosen(&[binding("repo:acme/shop:*"), all.clone()], &claims()), Err(Code::CiAmbiguousBinding));
    let others = [
        Binding { revoked_at: Some(now()), ..exact.clone() },
        Binding { expires: Some((String::new(), now())), ..exact.clone() },
        Binding { issuer: "https://other.test".to_owned(), ..exact.clone() },
        Binding { audience: "https://other.test".to_owned(), ..exact.clone() },
        binding("repo:acme/shop:ref:refs/heads/main2"),
        binding("repo:acme/shop-fork:*"),
        binding("repo:Acme/shop:ref:refs/heads/main"),
        binding("repo:acme/shop:environment:prod"),
    ];
    assert_eq!(chosen(&others, &claims()), Err(Code::CiAccessDenied));
    assert!(exact.is_active(now() + TimeDelta::days(9_999)));
}

#[test]
fn a_pull_request_or_another_repository_of_the_same_name_is_refused() {
    let all = [binding("repo:acme/shop:*")];
    let fork = Claims {
        sub: "repo:acme/shop:pull_request".to_owned(),
        event_name: Some("pull_request".to_owned()),
        ..claims()
    };
    assert_eq!(chosen(&all, &fork), Err(Code::CiEventNotAllowed));
    assert_eq!(chosen(&all, &Claims { event_name: None, ..claims() }), Err(Code::CiEventNotAllowed));
    let bound = [Binding { github_repository_id: Some("4711".to_owned()), ..all[0].clone() }];
    assert!(chosen(&bound, &claims()).is_ok());
    for other in [Some("4712".to_owned()), Some("04711".to_owned()), None] {
        let claims = Claims { repository_id: other, ..claims() };
        assert_eq!(chosen(&bound, &claims), Err(Code::CiRepositoryMismatch));
    }
}

#[test]
fn a_subject_that_contradicts_its_claims_is_refused() {
    let all = [binding("repo:acme/*")];
    let good = [
        claims(),
        Claims {
            sub: "repo:acme/shop:environment:prod%3Aeu".to_owned(),
            environment: Some("prod:eu".to_owned()),
            ..claims()
        },
    ];
    for claims in good {
        assert!(chosen(&all, &claims).is_ok(), "{claims:?}");
    }
    let numbered = Claims { sub: "repo:acme@1/shop@2:ref:refs/heads/main".to_owned(), ..claims() };
    assert!(chosen(&[binding("repo:acme@1/shop@2:*")], &numbered).is_ok());
    for wrong in [
        Claims { repository: Some("evil/shop".to_owned()), ..claims() },
        Claims { repository: None, ..claims() },
        Claims { r#ref: Some("refs/heads/evil".to_owned()), ..claims() },
        Claims { r#ref: None, ..claims() },
        Claims {
            sub: "repo:acme/shop:environment:prod".to_owned(),
            environment: Some("dev".to_owned()),
            ..claims()
        },
    ] {
        assert_eq!(chosen(&all, &wrong), Err(Code::CiAccessDenied), "{wrong:?}");
    }
}
