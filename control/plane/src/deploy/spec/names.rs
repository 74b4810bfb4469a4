//! `subdomains` and `secrets`: lists of names.

use actors::deploy::{SecretChange, deploy_problem};
use serde_json::Value;
use store::releases::NameChange;
use types::{Code, Problem};

use super::read::{Mistakes, object, only, strings};
use crate::secrets::is_key;
use crate::subdomain::check_name;

pub(super) fn subdomains(value: Option<&Value>, bad: &mut Mistakes) -> Option<NameChange> {
    let fields = object(value, "subdomains", bad)?;
    only(fields, "subdomains", &["set", "add", "remove"], bad);
    let mut list = |key: &str| -> Vec<String> {
        let mut names = Vec::new();
        for (place, name) in strings(fields.get(key), &format!("subdomains.{key}"), bad) {
            match check_name(name) {
                Ok(()) => names.push(name.to_owned()),
                Err(why) => bad.add(&place, why.0),
            }
        }
        names.sort();
        names.dedup();
        names
    };
    let set = fields.get("set").filter(|set| !set.is_null()).map(|_| list("set"));
    let (add, remove) = (list("add"), list("remove"));
    if set.is_some() && !(add.is_empty() && remove.is_empty()) {
        bad.add("subdomains", "use either set, or add and remove");
    }
    if let Some(name) = add.iter().find(|name| remove.contains(name)) {
        bad.add("subdomains.add", &format!("{name} is added and removed"));
    }
    if set.as_ref().is_some_and(|set| set.len() > 1) || add.len() > 1 {
        bad.push(Code::SubdomainMultiNotSupported, "subdomains", MULTI.to_owned());
    }
    let empty = set.is_none() && add.is_empty() && remove.is_empty();
    (!empty).then_some(NameChange { set, add, remove })
}

const MULTI: &str = "a deploy sets one subdomain at most";

pub(crate) fn too_many_names() -> Problem {
    deploy_problem(Code::SubdomainMultiNotSupported, "validate", MULTI).extra("resource", "subdomains")
}

pub(super) fn secrets(value: Option<&Value>, bad: &mut Mistakes) -> Option<SecretChange> {
    let fields = object(value, "secrets", bad)?;
    only(fields, "secrets", &["require", "delete"], bad);
    let mut list = |name: &str| -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (place, key) in strings(fields.get(name), &format!("secrets.{name}"), bad) {
            if !is_key(key) {
                bad.add(&place, "a key has A-Z, 0-9 and _, begins with no digit, and is up to 128 long");
            } else if keys.iter().any(|known| known == key) {
                bad.add(&place, "the key is there twice");
            } else {
                keys.push(key.to_owned());
            }
        }
        keys.sort();
        keys
    };
    let change = SecretChange { require: list("require"), delete: list("delete") };
    if let Some(key) = change.require.iter().find(|key| change.delete.contains(key)) {
        bad.add("secrets.delete", &format!("{key} is required and deleted"));
    }
    let empty = change.require.is_empty() && change.delete.is_empty();
    (!empty).then_some(change)
}
