use actors::deploy::{FunctionChange, Transaction};
use serde_json::Value;

use super::read::Fields;
use super::site::FILES_MAX;
use super::*;
use crate::content::OBJECT_BYTES_MAX;

const PROJECT: &str = "prj_0123456789abcdef0123456789abcdef";

fn file(digit: char) -> Value {
    json!({ "sha256": digit.to_string().repeat(64), "size": 11, "contentType": "text/html; charset=utf-8" })
}

fn with(part: Value) -> Value {
    let mut spec = json!({ "project": PROJECT });
    spec.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    spec
}

fn refusal(part: Value) -> (Code, Option<String>) {
    let problem = normalise(&with(part)).unwrap_err();
    assert_eq!(problem.extra["safe_to_retry"], true);
    (problem.code, problem.extra.get("resource").and_then(Value::as_str).map(str::to_owned))
}

fn misplaced(part: Value) -> String {
    let (code, place) = refusal(part.clone());
    assert_eq!(code, Code::InvalidSpec, "{part}");
    place.unwrap()
}

#[test]
fn the_wire_example_becomes_the_normal_form() {
    let spec = normalise(&with(json!({ "site": { "replace": { "index.html": file('e') } } }))).unwrap();
    let expected = json!({
        "project": PROJECT,
        "base": { "release": "current" },
        "site": { "replace": { "index.html": {
            "sha256": "e".repeat(64), "size": 11, "content_type": "text/html; charset=utf-8" } } },
    });
    assert_eq!(serde_json::to_value(&spec).unwrap(), expected);
}

// Both generations of clients ask for the same release, so they get the same digest.
#[test]
fn spellings_of_two_generations_have_one_digest() {
    let old =
        with(json!({ "site": { "replace": { "a.html": file('e') } }, "base": { "release": "current" } }));
    let new = json!({ "project_id": PROJECT, "site": { "replace": { "a.html": {
        "size": 11, "content_type": "text/html; charset=utf-8", "sha256": "e".repeat(64) } } } });
    let digest = |spec: &Value| actors::deploy::digest(&normalise(spec).unwrap());
    assert_eq!(digest(&old), digest(&new));
    let other = with(json!({ "site": { "replace": { "b.html": file('e') } } }));
    assert_ne!(digest(&old), digest(&other));
    let on_nothing =
        with(json!({ "site": { "replace": { "a.html": file('e') } }, "base": { "release": "empty" } }));
    assert_ne!(digest(&old), digest(&on_nothing));
}

#[test]
fn unknown_keys_are_refused_wherever_they_are() {
    let site = json!({ "replace": { "a": file('a') } });
    for (part, place) in [
        (json!({ "sit": {}, "site": site }), "sit"),
        (json!({ "site": { "replace": {}, "x": 1 } }), "site.x"),
        (json!({ "site": { "patch": { "puts": {} } } }), "site.patch.puts"),
        (json!({ "site": site, "base": { "releases": 1 } }), "base.releases"),
        (json!({ "subdomains": { "name": "x" } }), "subdomains.name"),
        (json!({ "site": site, "secrets": { "set": {} } }), "secrets.set"),
        (json!({ "site": site, "database": { "sql": 1 } }), "database.sql"),
        (
            json!({ "site": { "replace": { "a": { "sha256": "a".repeat(64), "size": 1, "data": "x" } } } }),
            "site.replace[\"a\"].data",
        ),
    ] {
        assert_eq!(misplaced(part), place);
    }
}

// I02: nothing a client calls a path may leave the site.
#[test]
fn paths_are_canonical_or_refused_by_name() {
    for path in
        ["../x", "/x", "a//b", "a/./b", "a\\b", "a\u{0}b", "", "_blob/x", "_cas/x", "_run402/x", "_staging/x"]
    {
        let place = misplaced(json!({ "site": { "replace": { path: file('a') } } }));
        assert_eq!(place, format!("site.replace[{path:?}]"));
        let place = misplaced(json!({ "site": { "patch": { "delete": [path] } } }));
        assert_eq!(place, "site.patch.delete[0]");
    }
    let twins = json!({ "site": { "replace": { "caf\u{e9}": file('a'), "cafe\u{301}": file('b') } } });
    assert!(misplaced(twins).starts_with("site.replace["));
    let decomposed = with(json!({ "site": { "replace": { "cafe\u{301}": file('a') } } }));
    assert_eq!(normalise(&decomposed).unwrap().contents()[0].place, "site.replace[\"caf\u{e9}\"]");
}

#[test]
fn too_many_files_are_refused_and_the_limit_itself_is_not() {
    let site = |count: usize| {
        let files: Fields = (0..count).map(|i| (format!("f{i}"), file('a'))).collect();
        with(json!({ "site": { "replace": files } }))
    };
    assert_eq!(normalise(&site(FILES_MAX)).unwrap().contents().len(), FILES_MAX);
    assert_eq!(normalise(&site(FILES_MAX + 1)).unwrap_err().extra["resource"], "site.replace");
}

#[test]
fn references_are_read_strictly() {
    let good = "a".repeat(64);
    for (content, field) in [
        (json!({ "size": 1 }), "sha256"),
        (json!({ "sha256": good.to_uppercase(), "size": 1 }), "sha256"),
        (json!({ "sha256": good }), "size"),
        (json!({ "sha256": good, "size": -1 }), "size"),
        (json!({ "sha256": good, "size": 1.5 }), "size"),
        (json!({ "sha256": good, "size": OBJECT_BYTES_MAX + 1 }), "size"),
        (json!({ "sha256": good, "size": 1, "contentType": "text/html\r\nset-cookie: a=b" }), "contentType"),
        (json!({ "sha256": good, "size": 1, "contentType": "html" }), "contentType"),
        (json!({ "sha256": good, "size": 1, "contentType": 7 }), "contentType"),
        (json!({ "sha256": good, "size": 1, "integrity": "sha256-AAAA" }), "integrity"),
    ] {
        let place = misplaced(json!({ "site": { "replace": { "a": content } } }));
        assert_eq!(place, format!("site.replace[\"a\"].{field}"));
    }
    let two_sizes = json!({ "site": { "replace": {
        "a": { "sha256": good, "size": 1 }, "b": { "sha256": good, "size": 2 } } } });
    assert_eq!(misplaced(two_sizes), "site.replace[\"b\"].size");
}

#[test]
fn a_spec_that_deploys_nothing_is_refused() {
    for part in [
        json!({}),
        json!({ "site": {} }),
        json!({ "site": { "replace": {} } }),
        json!({ "site": { "patch": {} } }),
        json!({ "subdomains": {} }),
        json!({ "subdomains": { "set": [] } }),
        json!({ "routes": null }),
        json!({ "database": { "zero_downtime": true } }),
        json!({ "functions": { "replace": {} } }),
        json!({ "secrets": { "require": [], "delete": [] } }),
        json!({ "checks": [] }),
        json!({ "base": { "release": "empty" } }),
    ] {
        assert_eq!(refusal(part).0, Code::ManifestEmpty);
    }
    assert!(normalise(&with(json!({ "routes": { "replace": [] } }))).is_ok());
}

#[test]
fn parts_of_later_versions_are_named_when_they_ask_for_something() {
    let site = json!({ "replace": { "a": file('a') } });
    for (part, name) in [
        (json!({ "i18n": { "locales": ["de"] } }), "i18n"),
        (
            json!({ "functions": { "replace": { "f": { "source": file('b'), "deps": ["x"] } } } }),
            "functions.replace.f.deps",
        ),
        (
            json!({ "routes": { "replace": [{ "pattern": "/a", "target": { "type": "static", "path": "x" } }] } }),
            "routes.replace[0].target",
        ),
    ] {
        let mut part = part;
        part["site"] = site.clone();
        assert_eq!(refusal(part), (Code::FeatureDisabled, Some(name.to_owned())));
    }
    let harmless = json!({ "site": site, "database": {}, "functions": { "replace": {} }, "routes": null,
        "secrets": {}, "checks": [], "assets": {} });
    assert!(normalise(&with(harmless)).is_ok());
}

// I02: keys of assets are as canonical as those of uploads.
#[test]
fn assets_are_read_with_their_keys_and_every_mistake_is_named() {
    let put =
        |key: &str| json!({ "key": key, "sha256": "a".repeat(64), "size_bytes": 3, "visibility": "public" });
    let spec =
        normalise(&with(json!({ "assets": { "put": [put("b.js"), put("cafe\u{301}")], "delete": ["x"] } })));
    let change = spec.unwrap().assets.unwrap();
    assert_eq!(change.put.iter().map(|put| put.key.as_str()).collect::<Vec<_>>(), ["b.js", "caf\u{e9}"]);
    assert_eq!(
        (change.put[0].content_type.as_str(), change.put[0].immutable),
        ("text/javascript; charset=utf-8", false)
    );
    let synced =
        normalise(&with(json!({ "assets": { "sync": [{ "prefix": "img" }, { "prefix": "img/" }] } })));
    let synced = synced.unwrap().assets.unwrap();
    assert_eq!(synced.sync, ["img/"]);
    assert!(synced.syncs_away("img/a") && !synced.syncs_away("img") && !synced.syncs_away("images/a"));
    for (assets, place) in [
        (json!({ "sync": { "prefix": "" } }), "assets.sync.prefix"),
        (json!({ "sync": { "prefix": "/" } }), "assets.sync.prefix"),
        (json!({ "sync": [{ "prefix": "../x" }] }), "assets.sync[0].prefix"),
        (json!({ "sync": [{ "prefix": "a", "other": 1 }] }), "assets.sync[0].other"),
        (json!({ "put": [put("../x")] }), "assets.put[0].key"),
        (json!({ "put": [put("a"), put("a")] }), "assets.put[1].key"),
        (json!({ "put": [put("a")], "delete": ["a"] }), "assets.delete[0]"),
        (json!({ "delete": ["_cas/x"] }), "assets.delete[0]"),
        (json!({ "put": [{ "key": "a" }] }), "assets.put[0].sha256"),
        (json!({ "puts": [] }), "assets.puts"),
    ] {
        let (code, at) = refusal(json!({ "assets": assets }));
        assert_eq!((code, at.as_deref()), (Code::InvalidSpec, Some(place)));
    }
}

#[test]
fn every_mistake_is_listed_and_the_first_one_speaks() {
    let part = json!({
        "sit": 1,
        "site": { "replace": { "../x": file('a'), "b": { "sha256": "no" } } },
        "database": { "migrations": [{ "id": "" }, { "id": "1", "checksum": "c", "sql_ref": file('c') },
            { "id": "1", "checksum": "c", "sql_ref": file('c'), "transaction": "maybe" }] },
        "secrets": { "require": ["lower"] },
        "functions": { "replace": { "f": { "runtime": "deno" } } },
        "routes": { "replace": [{ "pattern": "/*", "target": { "type": "function", "name": "f" } }] },
    });
    let problem = normalise(&with(part)).unwrap_err();
    let places: Vec<&str> = problem.extra["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["resource"].as_str().unwrap())
        .collect();
    assert_eq!(problem.extra["resource"], places[0]);
    for place in [
        "sit",
        "database.migrations[0].id",
        "database.migrations[0].checksum",
        "database.migrations[0].sql_ref",
        "database.migrations[2].transaction",
        "secrets.require[0]",
        "functions.replace.f.runtime",
        "functions.replace.f",
        "site.replace[\"../x\"]",
        "site.replace[\"b\"].sha256",
        "site.replace[\"b\"].size",
        "routes.replace[0].pattern",
    ] {
        assert!(places.contains(&place), "{place} is missing in {places:?}");
    }
}

#[test]
fn migrations_are_read_in_order_with_ids_that_are_unique() {
    let sql = |digit| json!({ "sha256": digit, "size": 5, "contentType": "application/sql" });
    let (a, b) = (sql("a".repeat(64)), sql("b".repeat(64)));
    let part = json!({ "database": { "migrations": [
        { "id": "002", "checksum": "x", "sql_ref": a, "transaction": "none" },
        { "id": "001", "checksum": "y", "sql_ref": b } ], "zero_downtime": true } });
    let database = normalise(&with(part)).unwrap().database.unwrap();
    let read: Vec<_> = database.migrations.iter().map(|m| (m.id.as_str(), m.transaction)).collect();
    assert_eq!(read, [("002", Transaction::None), ("001", Transaction::Required)]);
    assert!(database.zero_downtime);
    let twice = json!({ "database": { "migrations": [
        { "id": "1", "checksum": "x", "sql_ref": a }, { "id": "1", "checksum": "x", "sql_ref": a }] } });
    assert_eq!(misplaced(twice), "database.migrations[1].id");
}

#[test]
fn functions_are_whole_or_a_patch() {
    let replace = |spec: Value| json!({ "functions": { "replace": { "api": spec } } });
    let good = json!({ "runtime": "node22", "source": file('a'), "schedule": "*/15 * * * *",
        "config": { "timeoutSeconds": 5, "memoryMb": 128 } });
    let read = normalise(&with(replace(good))).unwrap();
    let Some(FunctionChange::Replace(all)) = read.functions else { panic!("whole") };
    assert_eq!((all["api"].timeout_seconds, all["api"].memory_mb), (Some(5), Some(128)));
    for (spec, place) in [
        (json!({ "runtime": "node22" }), "functions.replace.api"),
        (json!({ "source": file('a'), "schedule": "daily" }), "functions.replace.api.schedule"),
        (json!({ "source": file('a'), "files": { "a": file('a') } }), "functions.replace.api"),
        (json!({ "files": { "a": file('a') }, "entrypoint": "b" }), "functions.replace.api.entrypoint"),
        (
            json!({ "source": file('a'), "config": { "timeoutSeconds": 0 } }),
            "functions.replace.api.config.timeoutSeconds",
        ),
    ] {
        assert_eq!(misplaced(replace(spec)), place);
    }
    let odd = json!({ "functions": { "replace": { "a b": { "source": file('a') } } } });
    assert_eq!(misplaced(odd), "functions.replace.a b");
    let both = json!({ "functions": { "patch": { "set": { "a": {} }, "delete": ["a"] } } });
    assert_eq!(misplaced(both), "functions.patch.delete[0]");
}

#[test]
fn routes_are_patterns_with_methods_that_do_not_overlap() {
    let route = |pattern: &str, methods: Value| json!({ "pattern": pattern, "methods": methods, "target": { "type": "function", "name": "api" } });
    let table = |routes: Vec<Value>| json!({ "routes": { "replace": routes } });
    let read = normalise(&with(table(vec![
        route("/api/*", Value::Null),
        route("/login/", json!(["POST"])),
        route("/login", json!(["GET"])),
        route("/", json!(["POST"])),
    ])))
    .unwrap();
    let patterns: Vec<String> = read.routes.unwrap().into_iter().map(|r| r.pattern).collect();
    assert_eq!(patterns, ["/", "/login", "/login", "/api/*"]);
    for (pattern, methods, place) in [
        ("/*", Value::Null, "pattern"),
        ("api", Value::Null, "pattern"),
        ("/a*", Value::Null, "pattern"),
        ("/a/*/b", Value::Null, "pattern"),
        ("/a//b", Value::Null, "pattern"),
        ("/../b", Value::Null, "pattern"),
        ("/_run402/x", Value::Null, "pattern"),
        ("/a%20b", Value::Null, "pattern"),
        ("/a?b", Value::Null, "pattern"),
        ("/a", json!([]), "methods"),
        ("/a", json!(["TRACE"]), "methods[0]"),
    ] {
        let found = misplaced(table(vec![route(pattern, methods)]));
        assert_eq!(found, format!("routes.replace[0].{place}"), "{pattern}");
    }
    let twice = table(vec![route("/a", Value::Null), route("/a/", json!(["PUT"]))]);
    assert_eq!(misplaced(twice), "routes.replace[1]");
    assert_eq!(
        misplaced(json!({ "routes": { "replace": [{ "pattern": "/a" }] } })),
        "routes.replace[0].target"
    );
}

#[test]
fn secrets_are_keys_and_checks_are_looks() {
    let site = json!({ "replace": { "a": file('a') } });
    let part = json!({ "site": site, "secrets": { "require": ["B", "A"] },
        "checks": [{ "name": "home", "http": { "path": "/", "expect": { "status": 200 } } }, { "name": "x" }] });
    let spec = normalise(&with(part)).unwrap();
    assert_eq!(spec.secrets.unwrap().require, ["A", "B"]);
    assert_eq!((spec.checks[0].path.as_deref(), spec.checks[1].path.as_deref()), (Some("/"), None));
    for (secrets, place) in [
        (json!({ "require": ["A", "A"] }), "secrets.require[1]"),
        (json!({ "require": ["A"], "delete": ["A"] }), "secrets.delete"),
        (json!({ "set": { "A": "1" } }), "secrets.set"),
        (json!({ "require": "A" }), "secrets.require"),
    ] {
        assert_eq!(misplaced(json!({ "site": site, "secrets": secrets })), place);
    }
}

#[test]
fn going_back_to_a_release_is_a_deploy() {
    let part = json!({ "base": { "release_id": "rel_0123456789abcdef0123456789abcdef" } });
    assert!(normalise(&with(part)).is_ok());
}

#[test]
fn bases_are_one_of_three() {
    let site = json!({ "replace": { "a": file('a') } });
    let rel = "rel_0123456789abcdef0123456789abcdef";
    for (base, read) in [
        (json!({ "release": "current" }), Some(Base::Release(Anchor::Current))),
        (json!({ "release": "empty" }), Some(Base::Release(Anchor::Empty))),
        (json!({ "release_id": rel }), Some(Base::ReleaseId(rel.parse().unwrap()))),
        (Value::Null, Some(Base::Release(Anchor::Current))),
        (json!({ "release": "latest" }), None),
        (json!({ "release_id": "x" }), None),
        (json!({ "release": "current", "release_id": rel }), None),
        (json!("current"), None),
    ] {
        let spec = normalise(&with(json!({ "site": site, "base": base })));
        assert_eq!(spec.ok().map(|spec| spec.base), read);
    }
}

#[test]
fn names_are_checked_and_one_at_a_time() {
    let set = |names: Value| json!({ "subdomains": { "set": names } });
    assert!(normalise(&with(set(json!(["shop"])))).is_ok());
    assert!(normalise(&with(set(json!(["shop", "shop"])))).is_ok());
    assert_eq!(refusal(set(json!(["shop", "blog"]))).0, Code::SubdomainMultiNotSupported);
    assert_eq!(misplaced(set(json!(["Shop"]))), "subdomains.set[0]");
    assert_eq!(misplaced(set(json!(["admin"]))), "subdomains.set[0]");
    assert_eq!(misplaced(set(json!("shop"))), "subdomains.set");
    assert_eq!(misplaced(set(json!([1]))), "subdomains.set[0]");
    assert_eq!(misplaced(json!({ "subdomains": { "add": ["shop"], "remove": ["shop"] } })), "subdomains.add");
    assert_eq!(misplaced(json!({ "subdomains": { "set": ["shop"], "add": ["blog"] } })), "subdomains");
    let move_name = with(json!({ "subdomains": { "add": ["blog"], "remove": ["shop"] } }));
    assert!(normalise(&move_name).is_ok());
}

#[test]
fn a_patch_is_disjoint_and_sorted() {
    let both = json!({ "site": { "patch": { "put": { "a": file('a') }, "delete": ["a"] } } });
    assert_eq!(misplaced(both), "site.patch.delete[0]");
    let patch = with(json!({ "site": { "patch": { "delete": ["z", "b", "z"] } } }));
    let Some(SiteChange::Patch { delete, .. }) = normalise(&patch).unwrap().site else { panic!("a patch") };
    assert_eq!(delete, ["b", "z"]);
    let two = json!({ "site": { "replace": {}, "patch": {} } });
    assert_eq!(misplaced(two), "site");
}

#[test]
fn a_spec_without_a_project_is_nobodys() {
    assert_eq!(project(&json!({})).unwrap_err().code, Code::InvalidSpec);
    assert_eq!(project(&json!([])).unwrap_err().code, Code::InvalidSpec);
    assert_eq!(project(&json!({ "project": "prj_9" })).unwrap_err().code, Code::ProjectNotFound);
    assert_eq!(misplaced(json!({ "project_id": PROJECT, "site": {} })), "project_id");
}
