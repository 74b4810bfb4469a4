//! Functions built again of what is stored.

use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet};

use super::{deploy, invoke, packages, send_deploy};
use crate::deploys::kit::set_secret;

async fn rebuild(lab: &Lab, wallet: &Wallet, project: &Value, rest: &str) -> Answer {
    let path = format!("/projects/v1/{}/functions{rest}/rebuild", project["project_id"].as_str().unwrap());
    let sent = lab.http.post(lab.url(&path)).header("sign-in-with-x", wallet.siwx(&lab.api, &path));
    lab.send(sent).await
}

// Contract 03 section 2.9. Goal: the same source is the same code, is served by new workers afterwards, and is
// nobody's to build but the owner's.
#[tokio::test]
async fn a_function_is_built_again_of_the_same_source() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let code = "const born = crypto.randomUUID(); export default () => Response.json({ born });";
    deploy(&lab, &project, "a", code).await;
    deploy(&lab, &project, "b", "export default () => new Response('b')").await;
    let worker = invoke(&lab, &project, "a").await.body["born"].clone();
    assert_eq!(invoke(&lab, &project, "a").await.body["born"], worker, "one worker serves both");

    // As a version of before would have left it.
    let database = lab.database().await;
    let old = "update function_builds set library_version = '1.0.0',
        bundle = convert_to('export default () => new Response(\"old\")', 'UTF8')
        where position('born' in convert_from(bundle, 'UTF8')) > 0";
    assert_eq!(sqlx::query(old).execute(&database).await.unwrap().rows_affected(), 1);
    let first = rebuild(&lab, &wallet, &project, "/a").await;
    assert_eq!((first.status, &first.body["rebuilt"]), (200, &json!(true)), "{first:?}");
    assert_eq!(
        (&first.body["runtime_version_before"], &first.body["runtime_version_after"]),
        (&json!("1.0.0"), &json!("1.60.3"))
    );
    assert_ne!(first.body["old_fingerprint"], first.body["new_fingerprint"]);
    let answer = invoke(&lab, &project, "a").await;
    assert!(answer.body["born"].is_string() && answer.body["born"] != worker, "another worker: {answer:?}");

    let again = rebuild(&lab, &wallet, &project, "/a").await;
    assert_eq!(again.body["old_fingerprint"], first.body["new_fingerprint"], "{again:?}");
    assert_eq!(again.body["new_fingerprint"], first.body["new_fingerprint"], "same source, same bytes");
    assert_eq!(again.body["code_hash"], first.body["code_hash"]);
    let all = rebuild(&lab, &wallet, &project, "").await;
    assert_eq!((&all.body["rebuilt_count"], &all.body["total"]), (&json!(2), &json!(2)), "{all:?}");
    assert_eq!(all.body["results"][0]["code_hash"], first.body["code_hash"]);

    assert_eq!(rebuild(&lab, &wallet, &project, "/nobody").await.body["code"], "FUNCTION_NOT_FOUND");
    let (stranger, _) = lab.project().await;
    for rest in ["/a", ""] {
        assert_eq!(rebuild(&lab, &stranger, &project, rest).await.status, 403, "{rest}");
    }
    let path = format!("/projects/v1/{}/functions/a/rebuild", project["project_id"].as_str().unwrap());
    let keyed = lab.with_key(project["service_key"].as_str().unwrap(), "POST", &path, None).await;
    assert!(matches!(keyed.status, 401..=403), "{keyed:?}");
}

// Goal: a source that does not build any more (a package was taken from the registry) leaves what was served, also
// for workers that start later; the project's other functions are built all the same.
#[tokio::test]
async fn a_rebuild_that_fails_leaves_what_was_served() {
    let lab = packages::lab().await;
    let (wallet, project) = lab.project().await;
    let code = "import { z } from 'zod'; export default () => Response.json(z.literal(7).parse(7));";
    let made =
        send_deploy(&lab, &project, json!({ "name": "a", "code": code, "deps": ["zod@3.23.8"] })).await;
    assert_eq!(made.status, 201, "{made:?}");
    deploy(&lab, &project, "b", "export default () => new Response('b')").await;
    let database = lab.database().await;
    let gone = "update release_functions set source = replace(source::text, '3.23.8', '3.999.0')::jsonb
        where name = 'a'";
    assert!(sqlx::query(gone).execute(&database).await.unwrap().rows_affected() > 0);
    let failed = rebuild(&lab, &wallet, &project, "/a").await;
    assert_eq!((failed.status, &failed.body["code"]), (422, &json!("FUNCTION_BUILD_FAILED")), "{failed:?}");
    let all = rebuild(&lab, &wallet, &project, "").await;
    assert_eq!(
        (all.status, &all.body["rebuilt_count"], &all.body["total"]),
        (200, &json!(1), &json!(2)),
        "{all:?}"
    );
    let result = &all.body["results"][0];
    assert_eq!(
        (&result["rebuilt"], &result["code"]),
        (&json!(false), &json!("FUNCTION_BUILD_FAILED")),
        "{all:?}"
    );
    assert_eq!(invoke(&lab, &project, "a").await.body, 7);
    assert_eq!(set_secret(&lab, &project, "ANY", "other").await.status, 200);
    assert_eq!(invoke(&lab, &project, "a").await.body, 7, "a worker that starts now");
}
