//! Looking names up, and saying what was probably meant when there is no such name.

use serde_json::{Value, json};

use super::{Argument, Cardinality, Function, PROFILE, Relation, Schema, Table, fuzzy};
use crate::rest::error::RestError;
use crate::rest::payload::BodyKind;

type Found<T> = Result<T, RestError>;

/// How a function is called.
pub(in crate::rest) struct Call<'a> {
    pub name: &'a str,
    /// Names of the arguments, sorted.
    pub arguments: &'a [String],
    /// POST, with a body of this kind.
    pub body: Option<BodyKind>,
}

impl Schema {
    pub(in crate::rest) fn table(&self, name: &str) -> Found<&Table> {
        self.tables.get(name).ok_or_else(|| {
            let near = fuzzy::closest(self.tables.keys().map(String::as_str), name);
            RestError::new(
                404,
                "PGRST205",
                format!("Could not find the table '{PROFILE}.{name}' in the schema cache"),
            )
            .hint(near.map(|near| format!("Perhaps you meant the table '{PROFILE}.{near}'")))
        })
    }

    /// The way from `origin` to what a client calls `target`.
    pub(in crate::rest) fn relation(
        &self,
        origin: &str,
        target: &str,
        hint: Option<&str>,
    ) -> Found<&Relation> {
        let all = self.relations.get(origin).map_or(&[][..], Vec::as_slice);
        if let Some(computed) =
            all.iter().find(|one| one.function.as_deref() == Some(target) && hint.is_none())
        {
            return Ok(computed);
        }
        let named = |one: &&Relation| one.function.is_none() && matches(one, target, hint);
        let mut stored: Vec<&Relation> = all.iter().filter(named).collect();
        if stored.is_empty() {
            // A table joined with itself over another, or one to one, has no convention to keep.
            stored =
                all.iter().filter(|one| one.function.is_none() && is_odd_self(one, target, hint)).collect();
        }
        match stored.as_slice() {
            [] => Err(self.no_relation(origin, target, hint)),
            [one] => Ok(one),
            several => Err(ambiguous(origin, target, several)),
        }
    }

    fn no_relation(&self, origin: &str, target: &str, hint: Option<&str>) -> RestError {
        let using = hint.map(|hint| format!("' using the hint '{hint}")).unwrap_or_default();
        let near = match self.relations.get(origin) {
            Some(known) => fuzzy::closest_other(known.iter().map(|one| one.foreign.as_str()), target)
                .filter(|_| !known.iter().any(|one| one.foreign == target))
                .map(|near| format!("Perhaps you meant '{near}' instead of '{target}'.")),
            None => fuzzy::closest(self.relations.keys().map(String::as_str), origin)
                .map(|near| format!("Perhaps you meant '{near}' instead of '{origin}'.")),
        };
        RestError::new(
            400,
            "PGRST200",
            format!("Could not find a relationship between '{origin}' and '{target}' in the schema cache"),
        )
        .details(format!(
            "Searched for a foreign key relationship between '{origin}' and '{target}{using}' in the schema \
             '{PROFILE}', but no matches were found."
        ))
        .hint(near)
    }

    /// The function that a call means: by the names of its arguments, else one with a single unnamed argument.
    pub(in crate::rest) fn function(&self, call: &Call) -> Found<&Function> {
        let same_name = self.functions.get(call.name).map_or(&[][..], Vec::as_slice);
        let named: Vec<&Function> = same_name.iter().filter(|f| takes(f, call)).collect();
        let unnamed: Vec<&Function> =
            same_name.iter().filter(|f| !takes(f, call) && takes_whole_body(f, call.body)).collect();
        let fitting = if named.is_empty() { unnamed } else { named };
        match fitting.as_slice() {
            [one] => Ok(one),
            [] => Err(self.no_function(call, same_name)),
            several => Err(ambiguous_function(several)),
        }
    }

    fn no_function(&self, call: &Call, same_name: &[Function]) -> RestError {
        let (name, joined) = (call.name, call.arguments.join(", "));
        let only_single = matches!(call.body, Some(BodyKind::Text | BodyKind::Xml | BodyKind::Octets));
        let shown = if only_single {
            String::new()
        } else if call.arguments.is_empty() {
            " without parameters".to_owned()
        } else {
            format!("({joined})")
        };
        let with = match call.arguments {
            [] => " without parameters".to_owned(),
            [_] => format!(" with parameter {joined}"),
            _ => format!(" with parameters {joined}"),
        };
        let with = match call.body {
            Some(BodyKind::Text) => " with a single unnamed text parameter".to_owned(),
            Some(BodyKind::Xml) => " with a single unnamed xml parameter".to_owned(),
            Some(BodyKind::Octets) => " with a single unnamed bytea parameter".to_owned(),
            Some(BodyKind::Json) => format!("{with} or with a single unnamed json/jsonb parameter"),
            _ => with,
        };
        let near = if only_single {
            None
        } else if same_name.is_empty() {
            fuzzy::closest(self.functions.keys().map(String::as_str), name).map(str::to_owned)
        } else {
            let lists: Vec<String> = same_name.iter().map(|f| listed(&f.arguments)).collect();
            fuzzy::closest(lists.iter().map(String::as_str), &format!("({joined})"))
                .map(|list| format!("{name}{list}"))
        };
        RestError::new(
            404,
            "PGRST202",
            format!("Could not find the function {PROFILE}.{name}{shown} in the schema cache"),
        )
        .details(format!(
            "Searched for the function {PROFILE}.{name}{with}, but no matches were found in the schema cache."
        ))
        .hint(near.map(|near| format!("Perhaps you meant to call the function {PROFILE}.{near}")))
    }
}

/// `(a, b)`, names in order.
fn listed(arguments: &[Argument]) -> String {
    let mut names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
    names.sort_unstable();
    format!("({})", names.join(", "))
}

fn takes(function: &Function, call: &Call) -> bool {
    let whole = matches!(call.body, Some(BodyKind::Text | BodyKind::Xml | BodyKind::Octets));
    if function.arguments.is_empty() {
        return call.arguments.is_empty() && !whole;
    }
    let known = |name: &String| function.arguments.iter().any(|argument| argument.name == *name);
    call.arguments.iter().all(known)
        && function.arguments.iter().all(|one| !one.required || call.arguments.contains(&one.name))
}

fn takes_whole_body(function: &Function, body: Option<BodyKind>) -> bool {
    let [only] = function.arguments.as_slice() else { return false };
    only.name.is_empty()
        && match body {
            Some(BodyKind::Json) => matches!(only.kind.as_str(), "json" | "jsonb"),
            Some(BodyKind::Text) => only.kind == "text",
            Some(BodyKind::Xml) => only.kind == "xml",
            Some(BodyKind::Octets) => only.kind == "bytea",
            _ => false,
        }
}

fn ambiguous_function(several: &[&Function]) -> RestError {
    let one = |function: &&Function| {
        let arguments: Vec<String> =
            function.arguments.iter().map(|a| format!("{} => {}", a.name, a.kind)).collect();
        format!("{PROFILE}.{}({})", function.name, arguments.join(", "))
    };
    let list: Vec<String> = several.iter().map(one).collect();
    let hint = "Try renaming the parameters or the function itself in the database so function overloading can be \
                resolved";
    RestError::new(
        300,
        "PGRST203",
        format!("Could not choose the best candidate function between: {}", list.join(", ")),
    )
    .hint(Some(hint.to_owned()))
}

/// Whether a relationship is what a client means: by the table's name, the key's or a column's. A table's key on
/// itself is two relationships: by the table's name its rows below are meant, by the column's the one above.
///
/// # Source
/// <https://docs.postgrest.org/en/v13/references/api/resource_embedding.html>
fn matches(one: &Relation, target: &str, hint: Option<&str>) -> bool {
    if one.foreign == one.table {
        return match (hint, one.cardinality) {
            (None, Cardinality::OneToMany) => target == one.foreign,
            (None, Cardinality::ManyToOne) => own_column(one) == Some(target),
            (Some(hint), Cardinality::OneToMany) => target == one.foreign && their_column(one) == Some(hint),
            _ => false,
        };
    }
    by_any_name(one, target, hint)
}

fn is_odd_self(one: &Relation, target: &str, hint: Option<&str>) -> bool {
    let odd = matches!(one.cardinality, Cardinality::ManyToMany | Cardinality::OneToOne);
    one.foreign == one.table && odd && by_any_name(one, target, hint)
}

fn by_any_name(one: &Relation, target: &str, hint: Option<&str>) -> bool {
    let by_constraint = |name: &str| one.junction.is_none() && one.constraint == name;
    match hint {
        None => {
            target == one.foreign
                || (!one.foreign_is_view && (by_constraint(target) || own_column(one) == Some(target)))
        }
        Some(hint) => {
            let by_hint = by_constraint(hint)
                || own_column(one) == Some(hint)
                || their_column(one) == Some(hint)
                || one.junction.as_ref().is_some_and(|junction| junction.table == hint);
            target == one.foreign && by_hint
        }
    }
}

/// The one column here of a key of one column.
fn own_column(one: &Relation) -> Option<&str> {
    match one.columns.as_slice() {
        [(here, _)] => Some(here),
        _ => None,
    }
}

/// The one column there.
fn their_column(one: &Relation) -> Option<&str> {
    match one.columns.as_slice() {
        [(_, there)] => Some(there),
        _ => None,
    }
}

fn ambiguous(origin: &str, target: &str, several: &[&Relation]) -> RestError {
    let hints: Vec<String> = several
        .iter()
        .map(|one| {
            let by = one.junction.as_ref().map_or(&one.constraint, |junction| &junction.table);
            format!("'{}!{by}'", one.foreign)
        })
        .collect();
    let details: Vec<Value> = several.iter().map(|one| told(one)).collect();
    RestError::new(
        300,
        "PGRST201",
        format!("Could not embed because more than one relationship was found for '{origin}' and '{target}'"),
    )
    .details(details)
    .hint(Some(format!(
        "Try changing '{target}' to one of the following: {}. Find the desired relationship in the 'details' key.",
        hints.join(", ")
    )))
}

fn told(one: &Relation) -> Value {
    let names = |pairs: &[(String, String)], second: bool| {
        let list: Vec<&str> =
            pairs.iter().map(|p| if second { p.1.as_str() } else { p.0.as_str() }).collect();
        format!("({})", list.join(", "))
    };
    let relationship = match &one.junction {
        Some(junction) => format!(
            "{} using {}{} and {}{}",
            junction.table,
            junction.constraints.0,
            names(&junction.source, false),
            junction.constraints.1,
            names(&junction.target, false)
        ),
        None => format!(
            "{} using {}{} and {}{}",
            one.constraint,
            one.table,
            names(&one.columns, false),
            one.foreign,
            names(&one.columns, true)
        ),
    };
    json!({
        "cardinality": one.cardinality.as_str(),
        "embedding": format!("{} with {}", one.table, one.foreign),
        "relationship": relationship,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::schema::{Returns, Volatility};

    fn relation(foreign: &str, cardinality: Cardinality, constraint: &str, column: &str) -> Relation {
        Relation {
            table: "friends".into(),
            foreign: foreign.into(),
            foreign_is_view: false,
            cardinality,
            constraint: constraint.into(),
            columns: vec![(column.into(), "username".into())],
            junction: None,
            function: None,
        }
    }

    fn schema() -> Schema {
        let mut schema = Schema::default();
        let relations = ["first", "second"]
            .map(|name| relation("users", Cardinality::ManyToOne, &format!("friends_{name}_fkey"), name));
        schema.relations.insert("friends".into(), relations.to_vec());
        schema.tables.insert("users".into(), Table { name: "users".into(), ..Table::default() });
        let argument = |name: &str, kind: &str, required| Argument {
            name: name.into(),
            kind: kind.into(),
            required,
            variadic: false,
        };
        let function = |arguments| Function {
            name: "f".into(),
            description: None,
            arguments,
            returns: Returns::Scalar,
            set: false,
            volatility: Volatility::Stable,
        };
        let overloads = vec![
            function(vec![argument("a", "integer", true), argument("b", "text", false)]),
            function(vec![argument("a", "text", true)]),
            function(vec![argument("c", "text", true)]),
            function(vec![argument("", "json", true)]),
        ];
        schema.functions.insert("f".into(), overloads);
        schema
    }

    #[test]
    fn two_ways_are_ambiguous_until_a_hint_or_a_column_says_which() {
        let schema = schema();
        let error = schema.relation("friends", "users", None).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (300, "PGRST201"));
        assert_eq!(
            error.details[0]["relationship"],
            "friends_first_fkey using friends(first) and users(username)"
        );
        assert_eq!(
            schema.relation("friends", "users", Some("first")).unwrap().constraint,
            "friends_first_fkey"
        );
        assert_eq!(schema.relation("friends", "second", None).unwrap().constraint, "friends_second_fkey");
        assert_eq!(schema.relation("friends", "friends_first_fkey", None).unwrap().columns[0].0, "first");
        assert_eq!(
            schema.relation("friends", "user", None).unwrap_err().hint,
            "Perhaps you meant 'users' instead of 'user'."
        );
    }

    #[test]
    fn functions_are_chosen_by_the_names_of_their_arguments() {
        let schema = schema();
        let find = |names: &[&str], body| {
            let arguments: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            schema.function(&Call { name: "f", arguments: &arguments, body }).map(|f| f.arguments.len())
        };
        assert_eq!(find(&["a", "b"], None).unwrap(), 2);
        assert_eq!(find(&["c"], None).unwrap(), 1);
        assert_eq!(find(&["a"], None).unwrap_err().code, "PGRST203");
        assert_eq!(find(&["zzz"], Some(BodyKind::Json)).unwrap(), 1, "the whole body");
        let error = find(&["x", "y"], None).unwrap_err();
        assert_eq!(error.message, "Could not find the function public.f(x, y) in the schema cache");
        assert_eq!(error.status, 404);
    }

    #[test]
    fn an_unknown_table_names_its_neighbour() {
        let error = schema().table("user").unwrap_err();
        assert_eq!(error.message, "Could not find the table 'public.user' in the schema cache");
        assert_eq!(error.hint, "Perhaps you meant the table 'public.users'");
    }
}
