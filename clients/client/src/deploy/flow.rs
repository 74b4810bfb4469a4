//! Plan, upload, commit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::bundle::Content;
use super::upload::upload;
use super::{Bundle, Deployed, Progress, Source};
use crate::answer::text_of;
use crate::{Call, Client, ClientError, LocalError};

/// Larger plans travel as content.
const INLINE_BYTES_MAX: usize = 5 * 1024 * 1024;
const MANIFEST_TYPE: &str = "application/vnd.run402.deploy-manifest+json";
/// A deploy this small that removes files is more likely a wrong directory.
const PRUNE_FILES_MIN: usize = 5;

/// How a deploy is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Needed as soon as content has to be uploaded.
    pub anon_key: Option<&'a str>,
    pub idempotency_key: Option<&'a str>,
    pub warnings: Warnings,
}

/// What to do about a warning that asks for confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Warnings {
    #[default]
    Stop,
    Accept,
}

/// Whether a small deploy may remove paths that are live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    Confirmed,
    Unconfirmed,
}

/// A plan as the server answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan(pub Value);

impl Plan {
    /// How many live paths the plan would remove.
    pub fn removed_paths(&self) -> usize {
        let site = &self.0["site"];
        let listed = site["removed"].as_array().map_or(0, Vec::len);
        let total = site["totals"]["removed"].as_u64().and_then(|total| usize::try_from(total).ok());
        total.unwrap_or(listed).max(listed)
    }

    fn blocking_warnings(&self) -> Vec<&Value> {
        let warnings = self.0["warnings"].as_array().into_iter().flatten();
        let blocks = |entry: &&Value| {
            entry["requires_confirmation"] == true || entry["code"] == "MISSING_REQUIRED_SECRET"
        };
        warnings.filter(blocks).collect()
    }
}

/// Refuses a small deploy that would remove live paths, unless that was confirmed.
///
/// # Errors
/// `CONFIRM_PRUNE_REQUIRED`, with the paths.
pub fn prune_refusal(plan: &Plan, files: usize, prune: Prune) -> Result<(), LocalError> {
    let removed = plan.removed_paths();
    if prune == Prune::Confirmed || removed == 0 || files >= PRUNE_FILES_MIN {
        return Ok(());
    }
    let message = format!("deploying {files} files would remove {removed} paths that are live");
    Err(LocalError::new("CONFIRM_PRUNE_REQUIRED", message)
        .hint("Check the directory; add --confirm-prune to remove them.")
        .detail("removed", plan.0["site"]["removed"].clone()))
}

impl Client {
    /// Asks what a deploy would change, without storing anything.
    ///
    /// # Errors
    /// `Refused` as the server says; `MANIFEST_TOO_LARGE` above 5 MiB.
    pub async fn deploy_dry_run(&self, bundle: &Bundle) -> Result<Plan, ClientError> {
        let body = json!({ "spec": bundle.spec });
        if body.to_string().len() > INLINE_BYTES_MAX {
            return Err(LocalError::new("MANIFEST_TOO_LARGE", "a dry run takes specs of up to 5 MiB").into());
        }
        let call = Call::new("deploy.plans.create").query("dry_run", true).wallet().json(body);
        Ok(Plan(self.call(call).await?))
    }

    /// Plans a deploy. A spec above 5 MiB is uploaded first and named in the plan.
    ///
    /// # Errors
    /// `Refused` as the server says; those of uploading.
    pub async fn deploy_plan(
        &self,
        bundle: &Bundle,
        options: &Options<'_>,
        progress: Progress<'_>,
    ) -> Result<Plan, ClientError> {
        let mut body = json!({ "spec": bundle.spec });
        if body.to_string().len() > INLINE_BYTES_MAX {
            body = self.upload_manifest(bundle, options, progress).await?;
        }
        if let Some(key) = options.idempotency_key {
            body["idempotency_key"] = json!(key);
        }
        let plan = self.call(Call::new("deploy.plans.create").wallet().json(body)).await?;
        progress(json!({ "type": "plan.diff", "summary": plan["summary"], "is_noop": plan["is_noop"],
                         "site": site_totals(&plan["site"]) }));
        if plan["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()) {
            progress(json!({ "type": "plan.warnings", "warnings": plan["warnings"] }));
        }
        Ok(Plan(plan))
    }

    async fn upload_manifest(
        &self,
        bundle: &Bundle,
        options: &Options<'_>,
        progress: Progress<'_>,
    ) -> Result<Value, ClientError> {
        let mut manifest = Bundle::new("");
        let bytes = Value::Object(bundle.spec.clone()).to_string().into_bytes();
        let reference = manifest.add("the manifest", Source::Bytes(bytes), Some(MANIFEST_TYPE))?;
        let wanted = manifest.content.iter().map(|(sha256, content)| (sha256.as_str(), content)).collect();
        upload(self, anon_key(options)?, &wanted, progress).await?;
        Ok(json!({ "spec": { "project": bundle.spec["project"] }, "manifest_ref": reference }))
    }

    /// Uploads what the plan misses, commits it, and follows it to its end.
    ///
    /// # Errors `PLAN_WARNINGS` when a warning asks for confirmation: nothing was uploaded. `DeployFailed`
    /// when the operation failed. `DEPLOY_TIMEOUT` when it still runs after the wait: it goes on.
    pub async fn deploy_commit(
        &self,
        bundle: &Bundle,
        plan: &Plan,
        options: &Options<'_>,
        progress: Progress<'_>,
    ) -> Result<Deployed, ClientError> {
        let blocking = plan.blocking_warnings();
        if !blocking.is_empty() && options.warnings == Warnings::Stop {
            return Err(LocalError::new("PLAN_WARNINGS", "the plan has warnings that ask for confirmation")
                .hint("Read them; run402 deploy apply --allow-warnings goes on.")
                .detail("warnings", json!(blocking))
                .into());
        }
        let wanted = missing(bundle, plan, progress)?;
        if !wanted.is_empty() {
            upload(self, anon_key(options)?, &wanted, progress).await?;
        }
        let body = options.idempotency_key.map_or(json!({}), |key| json!({ "idempotency_key": key }));
        let plan_id = text_of(&plan.0, "plan_id")?;
        let commit = Call::new("deploy.plans.commit").path("plan_id", plan_id).wallet().json(body);
        let first = self.call(commit).await?;
        self.deploy_follow(first, options.anon_key, progress).await
    }
}

/// What the plan misses and we have. Reports what is there already.
fn missing<'a>(
    bundle: &'a Bundle,
    plan: &Plan,
    progress: Progress<'_>,
) -> Result<BTreeMap<&'a str, &'a Content>, LocalError> {
    let mut wanted = BTreeMap::new();
    for entry in plan.0["missing_content"].as_array().into_iter().flatten() {
        let sha256 = text_of(entry, "sha256")?;
        let ours = bundle.content.get_key_value(sha256);
        match (entry["present"] == true, ours) {
            (true, ours) => {
                let path = ours.map(|(_, content)| content.label.as_str());
                progress(json!({ "type": "content.upload.skipped", "path": path, "sha256": sha256 }));
            }
            (false, Some((sha256, content))) => drop(wanted.insert(sha256.as_str(), content)),
            (false, None) => {
                let message = format!("the server misses content that is not on this machine: {sha256}");
                return Err(LocalError::new("CONTENT_UPLOAD_FAILED", message));
            }
        }
    }
    Ok(wanted)
}

fn anon_key<'a>(options: &Options<'a>) -> Result<&'a str, LocalError> {
    options.anon_key.ok_or_else(|| {
        LocalError::new(
            "PROJECT_NOT_FOUND",
            "uploading needs the project's keys, which are not on this machine",
        )
    })
}

fn site_totals(site: &Value) -> Value {
    let count = |name: &str| {
        let total = site["totals"][name].as_u64();
        total.unwrap_or_else(|| site[name].as_array().map_or(0, Vec::len) as u64)
    };
    json!({ "added": count("added"), "changed": count("changed"), "removed": count("removed") })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stub::{Reply, Stub};
    use crate::wallet::tests::KEY;
    use crate::{Timing, WalletKey};

    fn plan(site: Value) -> Plan {
        Plan(json!({ "site": site }))
    }

    #[test]
    fn only_a_small_deploy_that_removes_paths_asks_for_confirmation() {
        let removes = plan(json!({ "added": [], "removed": ["a", "b"], "changed": [] }));
        let adds = plan(json!({ "added": [{ "path": "a" }], "removed": [] }));
        assert_eq!(prune_refusal(&adds, 1, Prune::Unconfirmed), Ok(()));
        assert_eq!(prune_refusal(&removes, 5, Prune::Unconfirmed), Ok(()));
        assert_eq!(prune_refusal(&removes, 1, Prune::Confirmed), Ok(()));
        let error = prune_refusal(&removes, 4, Prune::Unconfirmed).unwrap_err();
        assert_eq!(error.code, "CONFIRM_PRUNE_REQUIRED");
        assert_eq!(error.details["removed"], json!(["a", "b"]));
        let capped = plan(json!({ "removed": ["a"], "totals": { "removed": 5000 } }));
        assert_eq!(capped.removed_paths(), 5000);
    }

    #[test]
    fn a_warning_blocks_only_when_it_asks() {
        let warned = |warnings| Plan(json!({ "warnings": warnings })).blocking_warnings().len();
        assert_eq!(warned(json!([{ "code": "FIRST_DEPLOY", "requires_confirmation": false }])), 0);
        assert_eq!(warned(json!([{ "code": "MISSING_REQUIRED_SECRET", "requires_confirmation": false }])), 1);
        assert_eq!(warned(json!([{ "code": "OTHER", "requires_confirmation": true }])), 1);
    }

    /// A plan that misses one file, and everything after it.
    fn happy_path(base: &str, sha256: &str, put: u16) -> Vec<Reply> {
        let json = |status, body| Reply::Json(status, vec![], body);
        let missing = json!([{ "sha256": sha256, "size": 11, "present": false }]);
        let parts = json!([{ "part_number": 1, "url": format!("{base}/s3/staged?sig=1") }]);
        let session = json!({ "sha256": sha256, "mode": "single", "parts": parts, "upload_id": "upl_1" });
        vec![
            json(201, json!({ "plan_id": "plan_1", "operation_id": "op_1", "missing_content": missing })),
            json(201, json!({ "plan_id": "cplan_1", "missing": [session] })),
            json(put, json!({})),
            json(200, json!({})),
            json(200, json!({})),
            json(200, json!({ "operation_id": "op_1", "status": "running" })),
            json(503, json!({ "code": "UNAVAILABLE" })),
            json(
                200,
                json!({ "operation_id": "op_1", "status": "ready", "release_id": "rel_1",
                              "urls": { "project": "http://p", "deployment_id": "dpl_1" } }),
            ),
        ]
    }

    async fn deploy(stub: &Stub, bundle: &Bundle) -> Result<Deployed, ClientError> {
        let brief = Duration::from_millis(5);
        let timing = Timing { deploy_pause: brief, upload_pause: brief, ..Timing::default() };
        let key = WalletKey::from_hex(KEY).unwrap();
        let client = Client::new(&stub.base, Some(key)).unwrap().with_timing(timing);
        let options = Options { anon_key: Some("anon"), ..Options::default() };
        let plan = client.deploy_plan(bundle, &options, &|_| {}).await?;
        client.deploy_commit(bundle, &plan, &options, &|_| {}).await
    }

    fn hello() -> (Bundle, String) {
        let files = json!({ "files": [{ "file": "index.html", "data": "hello world" }] });
        let bundle = super::super::bundle_from_site("prj_9", &files, std::path::Path::new(".")).unwrap();
        let sha256 = bundle.content.keys().next().unwrap().clone();
        (bundle, sha256)
    }

    #[tokio::test]
    async fn what_is_missing_is_uploaded_before_the_commit() {
        let (bundle, sha256) = hello();
        let stub = Stub::start_with(|base| happy_path(base, &sha256, 200)).await;
        let deployed = deploy(&stub, &bundle).await.unwrap();
        assert_eq!((deployed.deployment_id(), deployed.url()), ("dpl_1", "http://p"));
        let seen = stub.seen();
        let lines: Vec<_> = seen.iter().map(|seen| seen.line.trim_end_matches(" HTTP/1.1")).collect();
        assert_eq!(
            lines,
            [
                "POST /deploy/v2/plans",
                "POST /content/v1/plans",
                "PUT /s3/staged?sig=1",
                "POST /storage/v1/uploads/upl_1/complete",
                "POST /content/v1/plans/cplan_1/commit",
                "POST /deploy/v2/plans/plan_1/commit",
                "GET /deploy/v2/operations/op_1",
                "GET /deploy/v2/operations/op_1",
            ]
        );
        let put = &seen[2];
        assert_eq!((put.body.as_str(), put.header("content-length")), ("hello world", Some("11")));
        assert_eq!(put.header("x-amz-checksum-sha256"), Some("uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="));
        for secret in ["apikey", "sign-in-with-x", "authorization"] {
            assert_eq!(put.header(secret), None, "{secret} must not reach the store");
        }
        assert_eq!(seen[3].header("apikey"), Some("anon"));
    }

    #[tokio::test]
    async fn bytes_that_the_store_refuses_stop_the_deploy() {
        let (bundle, sha256) = hello();
        let stub = Stub::start_with(|base| happy_path(base, &sha256, 400)).await;
        let error = deploy(&stub, &bundle).await.unwrap_err();
        assert_eq!((error.code(), stub.seen().len()), ("CONTENT_UPLOAD_FAILED", 3));
        let stub = Stub::start_with(|base| {
            let mut replies = happy_path(base, &sha256, 500);
            replies.splice(3..3, [Reply::Drop, Reply::Json(200, vec![], json!({}))]);
            replies
        })
        .await;
        deploy(&stub, &bundle).await.unwrap();
    }
}
