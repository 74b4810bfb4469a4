//! Requests made from the dialect's grammar, right and wrong: whatever is asked, it is answered, and never by a
//! fault of ours.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tests::Lab;

use super::Project;

const SCHEMA: &str = include_str!("../../conformance/schema.sql");
/// More run by `RUN402_REST_FUZZ=100000`; these are what each run of the tests affords.
const REQUESTS: usize = 2_000;
const AT_ONCE: usize = 16;

struct Grammar(StdRng);

impl Grammar {
    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of.choose(&mut self.0).unwrap()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn table(&mut self) -> &'static str {
        self.one(&[
            "users",
            "messages",
            "channels",
            "best_friends",
            "products",
            "cornercase",
            "active_users",
            "collections",
            "nope",
        ])
    }

    fn column(&mut self) -> String {
        let name = self.one(&[
            "id",
            "username",
            "data",
            "slug",
            "status",
            "age_range",
            "catchphrase",
            "message",
            "\"column whitespace\"",
            "array_column",
            "parent_id",
            "nope",
            "a'b",
            "\"",
            "é",
            "*",
            "",
            "data->foo->>bar",
            "data->-1",
        ]);
        name.to_owned()
    }

    fn value(&mut self) -> String {
        let text = self.one(&[
            "1",
            "-1",
            "x",
            "ONLINE",
            "null",
            "true",
            "[1,5)",
            "{a,b}",
            "{",
            "\"q\"",
            "a,b",
            "é",
            "%",
            "*",
            "'",
            "\\",
            "9999999999999999999999",
            "1e400",
            "{\"a\":1}",
            "()",
            "",
            "2020-01-01",
            "'; drop table users; --",
            "$1",
            "::int",
        ]);
        text.to_owned()
    }

    fn operation(&mut self) -> String {
        let not = if self.chance(20) { "not." } else { "" };
        let operator = self.one(&[
            "eq",
            "neq",
            "gt",
            "gte",
            "lt",
            "lte",
            "like",
            "ilike",
            "match",
            "imatch",
            "in",
            "is",
            "isdistinct",
            "cs",
            "cd",
            "ov",
            "sl",
            "sr",
            "nxr",
            "nxl",
            "adj",
            "fts",
            "plfts",
            "phfts",
            "wfts",
            "eq(any)",
            "like(all)",
            "fts(english)",
            "fts(nope)",
            "wat",
        ]);
        let value = self.value();
        let value =
            if operator == "in" && self.chance(80) { format!("({value},{})", self.value()) } else { value };
        format!("{not}{operator}.{value}")
    }

    fn logic(&mut self, depth: u32) -> String {
        if depth > 2 || self.chance(60) {
            return format!("{}.{}", self.column(), self.operation());
        }
        let word = self.one(&["and", "or", "not.and", "not.or"]);
        format!("{word}({},{})", self.logic(depth + 1), self.logic(depth + 1))
    }

    fn select(&mut self, depth: u32) -> String {
        let count = self.0.random_range(0..4);
        let items: Vec<String> = (0..count)
            .map(|_| match self.0.random_range(0..10) {
                0 if depth < 3 => {
                    let relation = self.one(&[
                        "users",
                        "messages",
                        "channels",
                        "products",
                        "categories",
                        "collections",
                        "users!first_user",
                        "get_messages",
                        "channel_details!inner",
                        "...channels",
                        "...messages",
                        "nope",
                    ]);
                    format!("{relation}({})", self.select(depth + 1))
                }
                1 => format!(
                    "{}::{}",
                    self.column(),
                    self.one(&["text", "int", "nope", "json", "double precision"])
                ),
                2 => format!(
                    "{}.{}()",
                    self.column(),
                    self.one(&["sum", "avg", "count", "max", "min", "nope"])
                ),
                3 => "count()".to_owned(),
                4 => format!("x:{}", self.column()),
                _ => self.column(),
            })
            .collect();
        items.join(",")
    }

    fn query(&mut self) -> String {
        let mut parts = Vec::new();
        if self.chance(70) {
            parts.push(("select".to_owned(), self.select(0)));
        }
        for _ in 0..self.0.random_range(0..3) {
            let path = if self.chance(15) { "messages." } else { "" };
            parts.push((format!("{path}{}", self.column()), self.operation()));
        }
        if self.chance(25) {
            parts.push((
                self.one(&["or", "and", "not.or", "messages.or"]).to_owned(),
                format!("({})", self.logic(0)),
            ));
        }
        if self.chance(25) {
            let modifier = self.one(&["", ".desc", ".asc.nullsfirst", ".nullslast", ".wat"]);
            parts.push(("order".to_owned(), format!("{}{modifier}", self.column())));
        }
        if self.chance(20) {
            let name = self.one(&["limit", "offset", "messages.limit", "columns", "on_conflict"]);
            parts.push((
                name.to_owned(),
                self.one(&["1", "0", "-1", "x", "99999999999999999999", "id", "username"]).to_owned(),
            ));
        }
        let encoded = parts.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v)));
        encoded.collect::<Vec<_>>().join("&")
    }

    fn body(&mut self) -> &'static str {
        self.one(&[
            "",
            "{}",
            "[]",
            "[{}]",
            "{\"username\":\"f\"}",
            "[{\"id\":1,\"slug\":\"x\"},{\"id\":2,\"slug\":null}]",
            "{\"id\":\"x\"}",
            "[1]",
            "{",
            "null",
            "{\"nope\":1}",
            "{\"data\":{\"a\":[1]}}",
            "{\"name_param\":\"x\"}",
            "{\"a\":\"\\u0000\"}",
            "username,status\nx,ONLINE",
        ])
    }
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

// Issue 5: grammar-based requests give no 5xx, and no refusal that is our fault (a syntax error of our own SQL).
#[tokio::test(flavor = "multi_thread")]
async fn no_request_of_the_grammar_is_our_fault() {
    let wanted =
        std::env::var("RUN402_REST_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(REQUESTS);
    let lab = Lab::start().await;
    // A project is served 100 requests a second.
    let mut projects = Vec::new();
    for _ in 0..if wanted > REQUESTS { AT_ONCE / 2 } else { 1 } {
        let p = Project::make(&lab).await;
        p.sql(&lab, SCHEMA).await;
        projects.push(p);
    }
    let seed = rand::random::<u64>();
    let mut grammar = Grammar(StdRng::seed_from_u64(seed));
    let mut faults = Vec::new();
    for _ in 0..wanted.div_ceil(AT_ONCE) {
        let asks: Vec<_> =
            (0..AT_ONCE).map(|n| one(&lab, &projects[n % projects.len()], &mut grammar)).collect();
        for fault in futures::future::join_all(asks).await.into_iter().flatten() {
            faults.push(fault);
        }
        assert!(faults.len() < 20, "seed {seed}:\n{}", faults.join("\n"));
    }
    assert!(faults.is_empty(), "seed {seed}:\n{}", faults.join("\n"));
    lab.assert_books_agree();
}

/// Sends one request, patiently; what was wrong with its answer.
fn one<'a>(
    lab: &'a Lab,
    p: &'a Project,
    grammar: &mut Grammar,
) -> impl Future<Output = Option<String>> + use<'a> {
    let method = grammar.one(&["GET", "GET", "GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"]);
    let target = if grammar.chance(15) {
        format!(
            "/rpc/{}",
            grammar.one(&[
                "get_status",
                "void_func",
                "unresolvable",
                "set_users_offline",
                "nope",
                "get_messages"
            ])
        )
    } else {
        format!("/{}", grammar.table())
    };
    let path = format!("{target}?{}", grammar.query());
    let headers = [
        (
            "prefer",
            grammar.one(&[
                "",
                "return=representation",
                "count=exact",
                "count=planned",
                "resolution=merge-duplicates",
                "tx=rollback",
                "handling=strict,max-affected=1",
                "missing=default",
                "timezone=Nope/Zone",
                "return=headers-only",
            ]),
        ),
        (
            "accept",
            grammar.one(&[
                "*/*",
                "application/json",
                "text/csv",
                "application/vnd.pgrst.object+json",
                "image/png",
                "application/vnd.pgrst.array+json;nulls=stripped",
            ]),
        ),
        (
            "content-type",
            grammar.one(&[
                "application/json",
                "text/csv",
                "application/x-www-form-urlencoded",
                "text/plain",
                "image/png",
            ]),
        ),
        ("range", grammar.one(&["", "0-1", "5-2", "x"])),
    ];
    let body = grammar.body();
    async move {
        loop {
            let mut request = p.public(lab, method, &path).body(body);
            for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
                request = request.header(*name, *value);
            }
            let answer = lab.send(request).await;
            if answer.status == 429 {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
            // Ours, unless a cast names words that are no type.
            let said = answer.body["message"].as_str().unwrap_or_default();
            let syntax = said.starts_with("syntax error at") && !path.contains("%3A%3A");
            let ours = answer.status >= 500 || syntax;
            return ours.then(|| format!("{method} {path} {headers:?} {body}: {answer:?}"));
        }
    }
}
