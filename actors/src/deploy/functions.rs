//! Functions of a release: from a base and a spec to what they are, and what that changes.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};
use store::releases::ReleaseFunction;
use types::Sha256Hex;

use super::canonical::canonical_json;
use super::spec::{FunctionChange, FunctionSpec, Source};

/// # Source
/// Wire contract 02 section 4.1.
pub const RUNTIME: &str = "node22";
const TIMEOUT_SECONDS: i32 = 10;
const MEMORY_MB: i32 = 128;

/// The functions of a release by name.
pub type Functions = BTreeMap<String, ReleaseFunction>;

/// A function that is made anew and has no code, or one that is changed and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSource(pub String);

/// A function with what is different about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionChanged {
    pub name: String,
    /// Of `code_hash`, `runtime`, `timeout_seconds`, `memory_mb`, `schedule`, `triggers`.
    pub fields: Vec<&'static str>,
}

/// What is between two sets of functions. Each list is sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionDiff {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<FunctionChanged>,
}

impl FunctionDiff {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// The functions after `change`. A patch merges the fields it leaves out from the base.
///
/// # Errors
/// The function that would have no code.
pub fn functions_after(base: &Functions, change: Option<&FunctionChange>) -> Result<Functions, NoSource> {
    match change {
        None => Ok(base.clone()),
        Some(FunctionChange::Replace(all)) => {
            all.iter().map(|(name, spec)| Ok((name.clone(), made(name, spec, None)?))).collect()
        }
        Some(FunctionChange::Patch { set, delete }) => {
            let mut after = base.clone();
            for name in delete {
                after.remove(name);
            }
            for (name, spec) in set {
                let function = made(name, spec, base.get(name))?;
                after.insert(name.clone(), function);
            }
            Ok(after)
        }
    }
}

fn made(
    name: &str,
    spec: &FunctionSpec,
    before: Option<&ReleaseFunction>,
) -> Result<ReleaseFunction, NoSource> {
    let (code_hash, source) = match (&spec.source, before) {
        (Some(source), _) => (code_hash(source), json!(source)),
        (None, Some(before)) => (before.code_hash.clone(), before.source.clone()),
        (None, None) => return Err(NoSource(name.to_owned())),
    };
    let before_runtime = before.map(|b| b.runtime.clone());
    Ok(ReleaseFunction {
        name: name.to_owned(),
        runtime: spec.runtime.clone().or(before_runtime).unwrap_or_else(|| RUNTIME.to_owned()),
        code_hash,
        timeout_seconds: spec
            .timeout_seconds
            .or(before.map(|b| b.timeout_seconds))
            .unwrap_or(TIMEOUT_SECONDS),
        memory_mb: spec.memory_mb.or(before.map(|b| b.memory_mb)).unwrap_or(MEMORY_MB),
        // Naming one takes the other away.
        schedule: match (&spec.schedule, &spec.triggers) {
            (Some(schedule), _) => schedule.clone(),
            (None, Some(triggers)) if !triggers.is_empty() => None,
            (None, _) => before.and_then(|b| b.schedule.clone()),
        },
        triggers: match (&spec.triggers, &spec.schedule) {
            (Some(triggers), _) => triggers.clone(),
            (None, Some(Some(_))) => Vec::new(),
            (None, _) => before.map(|b| b.triggers.clone()).unwrap_or_default(),
        },
        source,
    })
}

/// Of one file its own digest; of several that of their canonical list.
fn code_hash(source: &Source) -> Sha256Hex {
    match source {
        Source::File(content) => content.sha256.clone(),
        Source::Files { files, entrypoint, packages } => {
            let digests: BTreeMap<_, _> = files.iter().map(|(path, c)| (path, &c.sha256)).collect();
            let mut all = json!({ "files": digests, "entrypoint": entrypoint });
            if !packages.is_empty() {
                all["packages"] = json!(packages);
            }
            Sha256Hex::from_bytes(Sha256::digest(canonical_json(&all)).into())
        }
    }
}

/// The npm packages of a function by name, with the version of each.
pub fn packages_of(function: &ReleaseFunction) -> BTreeMap<String, String> {
    match serde_json::from_value(function.source.clone()) {
        Ok(Source::Files { packages, .. }) => packages,
        _ => BTreeMap::new(),
    }
}

/// What an owner would notice.
pub fn function_diff(from: &Functions, to: &Functions) -> FunctionDiff {
    let mut diff = FunctionDiff::default();
    for (name, new) in to {
        match from.get(name) {
            None => diff.added.push(name.clone()),
            Some(old) => {
                let fields = fields_changed(old, new);
                if !fields.is_empty() {
                    diff.changed.push(FunctionChanged { name: name.clone(), fields });
                }
            }
        }
    }
    diff.removed = from.keys().filter(|name| !to.contains_key(*name)).cloned().collect();
    diff
}

fn fields_changed(old: &ReleaseFunction, new: &ReleaseFunction) -> Vec<&'static str> {
    [
        ("code_hash", old.code_hash != new.code_hash),
        ("runtime", old.runtime != new.runtime),
        ("timeout_seconds", old.timeout_seconds != new.timeout_seconds),
        ("memory_mb", old.memory_mb != new.memory_mb),
        ("schedule", old.schedule != new.schedule),
        ("triggers", old.triggers != new.triggers),
    ]
    .into_iter()
    .filter_map(|(field, differs)| differs.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::spec::Content;
    use super::*;

    fn spec(digit: Option<char>) -> FunctionSpec {
        let content = |digit: char| Content {
            sha256: digit.to_string().repeat(64).parse().unwrap(),
            size: 1,
            content_type: "text/javascript".to_owned(),
        };
        FunctionSpec { source: digit.map(|digit| Source::File(content(digit))), ..FunctionSpec::default() }
    }

    fn map(all: Vec<(&str, FunctionSpec)>) -> BTreeMap<String, FunctionSpec> {
        all.into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect()
    }

    #[test]
    fn replace_is_exact_and_a_patch_merges_what_it_leaves_out() {
        let scheduled = FunctionSpec { schedule: Some(Some("0 * * * *".into())), ..spec(Some('1')) };
        let replace = FunctionChange::Replace(map(vec![("a", scheduled), ("b", spec(Some('2')))]));
        let base = functions_after(&Functions::new(), Some(&replace)).unwrap();
        assert_eq!(
            (base["b"].timeout_seconds, base["b"].memory_mb, base["b"].runtime.as_str()),
            (10, 128, RUNTIME)
        );

        let set =
            map(vec![("a", FunctionSpec { memory_mb: Some(256), ..spec(None) }), ("c", spec(Some('3')))]);
        let patch = FunctionChange::Patch { set, delete: vec!["b".into()] };
        let after = functions_after(&base, Some(&patch)).unwrap();
        assert_eq!(after["a"].schedule.as_deref(), Some("0 * * * *"), "it stays");
        let diff = function_diff(&base, &after);
        assert_eq!((diff.added, diff.removed), (vec!["c".to_owned()], vec!["b".to_owned()]));
        assert_eq!(diff.changed, [FunctionChanged { name: "a".into(), fields: vec!["memory_mb"] }]);

        let gone = map(vec![("a", FunctionSpec { schedule: Some(None), ..spec(None) })]);
        let patch = FunctionChange::Patch { set: gone, delete: vec![] };
        assert_eq!(functions_after(&base, Some(&patch)).unwrap()["a"].schedule, None);
        let timed = |spec: FunctionSpec, base: &Functions| {
            let patch = FunctionChange::Patch { set: map(vec![("a", spec)]), delete: vec![] };
            functions_after(base, Some(&patch)).unwrap()
        };
        let trigger =
            serde_json::from_value(json!({ "id": "t", "cron": "0 * * * *", "timezone": "UTC", "run": {
            "event_type": "x",
            "retry": { "max_attempts": 1, "min_delay_seconds": 0, "max_delay_seconds": 0 } } }));
        let triggers = vec![trigger.unwrap()];
        let triggered = timed(FunctionSpec { triggers: Some(triggers.clone()), ..spec(None) }, &base);
        assert_eq!((&triggered["a"].schedule, &triggered["a"].triggers), (&None, &triggers));
        let fields = function_diff(&base, &triggered).changed.remove(0).fields;
        assert_eq!(fields, ["schedule", "triggers"]);
        let kept = timed(FunctionSpec { memory_mb: Some(64), ..spec(None) }, &triggered);
        assert_eq!(kept["a"].triggers, triggers, "they stay");
        let plain = FunctionSpec { schedule: Some(Some("1 * * * *".into())), ..spec(None) };
        assert!(timed(plain, &triggered)["a"].triggers.is_empty());
        assert!(
            timed(FunctionSpec { triggers: Some(vec![]), ..spec(None) }, &triggered)["a"].triggers.is_empty()
        );
        let unknown = FunctionChange::Patch { set: map(vec![("z", spec(None))]), delete: vec![] };
        assert_eq!(functions_after(&base, Some(&unknown)), Err(NoSource("z".into())));
        assert_eq!(functions_after(&base, None).unwrap(), base);
    }

    #[test]
    fn code_of_several_files_is_told_apart_by_files_entry_and_packages() {
        let file = |digit: char| match spec(Some(digit)).source {
            Some(Source::File(content)) => content,
            _ => unreachable!(),
        };
        let hash = |digit, entrypoint: &str, version: &str| {
            let files = BTreeMap::from([("a.mjs".to_owned(), file(digit)), ("b.mjs".to_owned(), file('9'))]);
            let packages = BTreeMap::from([("zod".to_owned(), version.to_owned())]);
            code_hash(&Source::Files { files, entrypoint: entrypoint.to_owned(), packages })
        };
        assert_eq!(hash('1', "a.mjs", "1.0.0"), hash('1', "a.mjs", "1.0.0"));
        assert_ne!(hash('1', "a.mjs", "1.0.0"), hash('2', "a.mjs", "1.0.0"));
        assert_ne!(hash('1', "a.mjs", "1.0.0"), hash('1', "b.mjs", "1.0.0"));
        assert_ne!(hash('1', "a.mjs", "1.0.0"), hash('1', "a.mjs", "1.0.1"));
    }
}
