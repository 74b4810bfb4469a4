//! Reads a release spec as clients send it, in all its spellings, and brings it to its normal form. Every mistake
//! is found, not only the first.

mod assets;
mod content;
mod cron;
mod database;
mod functions;
mod names;
mod read;
mod routes;
mod site;
mod triggers;

use actors::deploy::{Anchor, Base, SiteChange, Spec, deploy_problem};
use serde_json::{Value, json};
use types::{Code, Problem, ProjectId, ReleaseId};

pub(super) use assets::ASSETS_MAX;
pub(crate) use content::is_content_type;
pub(crate) use cron::interval_minutes;
pub(super) use names::too_many_names;
use read::{Mistakes, later, object, only};

/// The project that a spec names, before anything else of it is read: it decides who may go on.
pub(super) fn project(spec: &Value) -> Result<ProjectId, Problem> {
    let fields = spec.as_object().ok_or_else(|| invalid("spec", "the spec is not an object"))?;
    let named = fields.get("project").or_else(|| fields.get("project_id"));
    let named = named.and_then(Value::as_str).ok_or_else(|| invalid("project", "name the project"))?;
    named.parse().map_err(|_| deploy_problem(Code::ProjectNotFound, "plan", format!("no project {named}")))
}

/// # Errors
/// `INVALID_SPEC` with the dotted place of the first mistake, and all of them in `errors`; `MANIFEST_EMPTY`;
/// `SUBDOMAIN_MULTI_NOT_SUPPORTED`; `FEATURE_DISABLED`.
///
/// # Source
/// Wire contract 02 section 4.1.
pub(super) fn normalise(spec: &Value) -> Result<Spec, Problem> {
    let project = project(spec)?;
    let mut bad = Mistakes::default();
    let Some(fields) = object(Some(spec), "spec", &mut bad) else {
        return Err(invalid("spec", "the spec is not an object"));
    };
    if fields.contains_key("project") && fields.contains_key("project_id") {
        bad.add("project_id", "the project is named twice");
    }
    const LATER: [&str; 1] = ["i18n"];
    const KNOWN: [&str; 11] = [
        "assets",
        "project",
        "project_id",
        "base",
        "database",
        "secrets",
        "functions",
        "site",
        "subdomains",
        "routes",
        "checks",
    ];
    only(fields, "", &[&KNOWN[..], &LATER[..]].concat(), &mut bad);
    later(fields, "", &LATER, &mut bad);
    let spec = Spec {
        project,
        base: base(fields.get("base"), &mut bad),
        database: database::database(fields.get("database"), &mut bad),
        secrets: names::secrets(fields.get("secrets"), &mut bad),
        functions: functions::functions(fields.get("functions"), &mut bad),
        site: site::site(fields.get("site"), &mut bad),
        subdomains: names::subdomains(fields.get("subdomains"), &mut bad),
        assets: assets::assets(fields.get("assets"), &mut bad),
        routes: routes::routes(fields.get("routes"), &mut bad),
        checks: routes::checks(fields.get("checks"), &mut bad),
    };
    if bad.is_empty() && !has_content(&spec) {
        bad.push(Code::ManifestEmpty, "spec", "the spec deploys nothing".to_owned());
    }
    match bad.into_problem() {
        Some(problem) => Err(problem),
        None => Ok(spec),
    }
}

/// Whether it asks for anything. Going back to an earlier release is something by itself.
fn has_content(spec: &Spec) -> bool {
    let site = spec.site.as_ref().is_some_and(|site| match site {
        SiteChange::Replace(files) => !files.is_empty(),
        SiteChange::Patch { .. } => true,
    });
    let functions = spec.functions.as_ref().is_some_and(|change| match change {
        actors::deploy::FunctionChange::Replace(all) => !all.is_empty(),
        actors::deploy::FunctionChange::Patch { .. } => true,
    });
    let names = spec.subdomains.as_ref().is_some_and(|change| {
        change.set.as_ref().is_some_and(|set| !set.is_empty())
            || !change.add.is_empty()
            || !change.remove.is_empty()
    });
    site || functions
        || names
        || spec.touches_database()
        || spec.secrets.is_some()
        || spec.assets.is_some()
        || spec.routes.is_some()
        || !spec.checks.is_empty()
        || matches!(spec.base, Base::ReleaseId(_))
}

fn base(value: Option<&Value>, bad: &mut Mistakes) -> Base {
    let current = Base::Release(Anchor::Current);
    let Some(fields) = object(value, "base", bad) else { return current };
    only(fields, "base", &["release", "release_id"], bad);
    match (fields.get("release"), fields.get("release_id")) {
        (Some(_), Some(_)) => bad.add("base", "name either release or release_id"),
        (None, None) => {}
        (Some(anchor), None) => match anchor.as_str() {
            Some("current") => {}
            Some("empty") => return Base::Release(Anchor::Empty),
            _ => bad.add("base.release", "use current or empty"),
        },
        (None, Some(id)) => match id.as_str().and_then(|id| id.parse::<ReleaseId>().ok()) {
            Some(id) => return Base::ReleaseId(id),
            None => bad.add("base.release_id", "this is not a release id"),
        },
    }
    current
}

/// A mistake in the spec, with its place.
pub(super) fn invalid(place: &str, why: &str) -> Problem {
    deploy_problem(Code::InvalidSpec, "validate", format!("{place}: {why}"))
        .extra("resource", place)
        .extra("fix", json!({ "action": "set_field", "path": place }))
}

#[cfg(test)]
mod tests;
