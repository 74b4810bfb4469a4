//! The dialect, request by request.

use serde_json::{Value, json};

use super::{Case, Role, Tables};

/// Reads of tables: what comes back, by the service role.
fn reads() -> Vec<(&'static str, Value)> {
    vec![
        ("/films?select=id&year=eq.1980", json!([{ "id": 1 }])),
        ("/films?select=id&id=in.(1,3)&order=id.desc", json!([{ "id": 3 }, { "id": 1 }])),
        ("/films?select=id&id=in.()", json!([])),
        ("/films?select=id&title=like.*e*&order=id", json!([{ "id": 1 }, { "id": 2 }, { "id": 3 }])),
        (
            "/films?select=id&title=ilike(any).{t*,orph*}&order=id",
            json!([{ "id": 1 }, { "id": 3 }, { "id": 4 }]),
        ),
        ("/films?select=id&title=match.^T.*t$", json!([{ "id": 3 }])),
        ("/films?select=id&title=imatch.^the", json!([{ "id": 1 }])),
        ("/films?select=id&year=is.null", json!([{ "id": 4 }])),
        ("/films?select=id&year=not.is.null&id=gt.2", json!([{ "id": 3 }])),
        ("/films?select=id&year=isdistinct.2000&id=lt.3", json!([{ "id": 1 }])),
        ("/films?select=id&year=gte.2000&year=lte.2020&order=year.asc", json!([{ "id": 2 }, { "id": 3 }])),
        (
            "/films?select=id&or=(id.eq.1,and(year.gt.2000,title.not.eq.x))&order=id",
            json!([{ "id": 1 }, { "id": 3 }]),
        ),
        ("/films?select=id&not.or=(id.eq.1,id.eq.2,id.eq.3)", json!([{ "id": 4 }])),
        (
            "/films?select=id&and=(id.gte.2,title.in.(Memento,\"Tenet\"))&order=id",
            json!([{ "id": 2 }, { "id": 3 }]),
        ),
        ("/films?select=id&tags=cs.{horror}", json!([{ "id": 1 }])),
        ("/films?select=id&tags=cd.{horror,hotel,x}&order=id", json!([{ "id": 1 }, { "id": 3 }])),
        ("/films?select=id&tags=ov.{crime,x}", json!([{ "id": 2 }])),
        ("/films?select=id&span=ov.[4,6)&order=id", json!([{ "id": 1 }, { "id": 2 }])),
        ("/films?select=id&span=sr.(0,5)", json!([{ "id": 2 }])),
        ("/films?select=id&span=adj.(8,20)", json!([{ "id": 2 }])),
        ("/films?select=id&span=nxr.[1,5)", json!([{ "id": 1 }])),
        ("/films?select=id&words=fts(english).cats", json!([{ "id": 1 }])),
        ("/films?select=id&words=wfts.fat -dogs", json!([{ "id": 1 }])),
        ("/films?select=id&title=plfts.shining", json!([{ "id": 1 }])),
        ("/films?select=id&words=phfts(english).fat cats", json!([{ "id": 1 }])),
        ("/films?select=id&data->a->b->>0=eq.10", json!([{ "id": 1 }])),
        ("/films?select=x:data->a->b&data->>s=eq.x", json!([{ "x": [10, 20] }])),
        ("/films?select=data->a->b->0,data->>s&id=eq.1", json!([{ "b": 10, "s": "x" }])),
        ("/films?select=y:year::text,tags->0&id=eq.1", json!([{ "y": "1980", "tags": "horror" }])),
        ("/films?select=id&order=rating.desc.nullslast,id.desc&limit=2", json!([{ "id": 2 }, { "id": 1 }])),
        ("/films?select=id&order=id&limit=1&offset=2", json!([{ "id": 3 }])),
        ("/films?select=id&limit=0", json!([])),
        (
            "/wide?select=\"a b\",\"c,d\",\"q\\\"r\"&\"c,d\"=eq.7",
            json!([{ "a b": "x y", "c,d": 7, "q\"r": 8 }]),
        ),
        ("/films?select=title_length,id&id=eq.2", json!([{ "title_length": 7, "id": 2 }])),
        // Aggregates.
        ("/films?select=count()", json!([{ "count": 4 }])),
        (
            "/films?select=director_id,count(),id.max()&director_id=not.is.null&order=director_id",
            json!([
            { "director_id": 1, "count": 1, "max": 1 }, { "director_id": 2, "count": 2, "max": 3 }]),
        ),
        ("/films?select=s:year.sum(),a:rating.avg()::int&id=lt.4", json!([{ "s": 6000, "a": 8 }])),
        // Embedding.
        (
            "/films?select=title,directors(name)&id=eq.1",
            json!([{ "title": "The Shining", "directors": { "name": "Kubrick" } }]),
        ),
        ("/films?select=id,directors(name)&id=eq.4", json!([{ "id": 4, "directors": null }])),
        (
            "/directors?select=name,films(title)&order=id&films.order=id",
            json!([
            { "name": "Kubrick", "films": [{ "title": "The Shining" }] },
            { "name": "Nolan", "films": [{ "title": "Memento" }, { "title": "Tenet" }] },
            { "name": "Nobody", "films": [] }]),
        ),
        (
            "/directors?select=id,films!inner(id)&films.year=gt.2010",
            json!([{ "id": 2, "films": [{ "id": 3 }] }]),
        ),
        (
            "/directors?select=id,films(id)&films.limit=1&films.order=id.desc&id=eq.2",
            json!([{ "id": 2, "films": [{ "id": 3 }] }]),
        ),
        ("/directors?select=id,films()&films=is.null", json!([{ "id": 3 }])),
        (
            "/films?select=id,d:directors!inner(name)&d.name=eq.Nolan&order=id",
            json!([
            { "id": 2, "d": { "name": "Nolan" } }, { "id": 3, "d": { "name": "Nolan" } }]),
        ),
        (
            "/films?select=id,director:director_id(name)&id=eq.2",
            json!([{ "id": 2, "director": { "name": "Nolan" } }]),
        ),
        (
            "/films?select=id,technical(aspect)&order=id&limit=3",
            json!([
            { "id": 1, "technical": { "aspect": "1.66" } }, { "id": 2, "technical": { "aspect": "2.35" } },
            { "id": 3, "technical": null }]),
        ),
        (
            "/films?select=id,actors(name)&id=eq.2&actors.order=name.desc",
            json!([{ "id": 2, "actors": [{ "name": "Jack" }, { "name": "Guy" }] }]),
        ),
        (
            "/actors?select=name,roles(part,films(title))&id=eq.2",
            json!([
            { "name": "Guy", "roles": [{ "part": "Leonard", "films": { "title": "Memento" } }] }]),
        ),
        (
            "/trips?select=id,from:directors!origin(name),to:directors!trips_target_fkey(name)",
            json!([
            { "id": 1, "from": { "name": "Kubrick" }, "to": { "name": "Nolan" } }]),
        ),
        ("/nodes?select=id,nodes(id)&id=eq.1", json!([{ "id": 1, "nodes": [{ "id": 2 }, { "id": 3 }] }])),
        ("/nodes?select=id,up:parent(id)&id=eq.2", json!([{ "id": 2, "up": { "id": 1 } }])),
        ("/films?select=id,best_role(part)&id=eq.2", json!([{ "id": 2, "best_role": { "part": "Cameo" } }])),
        (
            "/films?select=id,all_roles(part)&id=eq.2",
            json!([{ "id": 2, "all_roles": [{ "part": "Cameo" }, { "part": "Leonard" }] }]),
        ),
        (
            "/recent?select=name,directors(name)&id=eq.3",
            json!([{ "name": "Tenet", "directors": { "name": "Nolan" } }]),
        ),
        ("/directors?select=id,recent(name)&id=eq.1", json!([{ "id": 1, "recent": [] }])),
        // Spread.
        ("/films?select=id,...directors(director:name)&id=eq.1", json!([{ "id": 1, "director": "Kubrick" }])),
        (
            "/directors?select=id,...films(titles:title)&id=eq.2&films.order=id",
            json!([{ "id": 2, "titles": ["Memento", "Tenet"] }]),
        ),
        (
            "/films?select=...directors(name),n:id.count()&director_id=not.is.null&order=directors(name)",
            json!([
            { "name": "Kubrick", "n": 1 }, { "name": "Nolan", "n": 2 }]),
        ),
        ("/technical?select=...films(rating.sum())", json!([{ "sum": 16.8 }])),
        (
            "/films?select=id,directors(name)&directors=not.is.null&order=directors(name).desc,id&limit=2",
            json!([
            { "id": 2, "directors": { "name": "Nolan" } }, { "id": 3, "directors": { "name": "Nolan" } }]),
        ),
    ]
}

#[tokio::test]
async fn reads_answer_what_they_ask_for() {
    let t = Tables::start().await;
    let mut wrong = Vec::new();
    for (path, expected) in reads() {
        let got = t.get(path).await;
        if got.status != 200 || got.body != expected {
            wrong.push(format!("{path}\n  expected {expected}\n  got {} {}", got.status, got.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    t.world.stop().await;
}

#[tokio::test]
async fn ranges_counts_and_forms() {
    let t = Tables::start().await;
    let get = async |path: &str, headers: &[(&str, &str)]| {
        t.ask(Role::Service, Case { method: "GET", path, headers, body: None }).await
    };
    let part = get("/films?select=id", &[("range", "0-1"), ("prefer", "count=exact")]).await;
    assert_eq!((part.status, part.header("content-range")), (206, "0-1/4"));
    assert_eq!(part.header("preference-applied"), "count=exact");
    let beyond = get("/films?offset=10", &[("prefer", "count=exact")]).await;
    assert_eq!((beyond.status, &beyond.body["code"]), (416, &json!("PGRST103")));
    assert_eq!(beyond.body["details"], "An offset of 10 was requested, but there are only 4 rows.");
    for prefer in ["count=planned", "count=estimated"] {
        let got = get("/films?select=id", &[("prefer", prefer)]).await;
        assert!(matches!(got.status, 200 | 206) && !got.header("content-range").ends_with("/*"), "{got:?}");
    }
    let one = get("/films?select=id&id=eq.1", &[("accept", "application/vnd.pgrst.object+json")]).await;
    assert_eq!((one.status, &one.body), (200, &json!({ "id": 1 })));
    assert_eq!(one.header("content-type"), "application/vnd.pgrst.object+json; charset=utf-8");
    let many = get("/films?select=id", &[("accept", "application/vnd.pgrst.object+json")]).await;
    assert_eq!(
        (many.status, &many.body["code"], &many.body["details"]),
        (406, &json!("PGRST116"), &json!("The result contains 4 rows"))
    );
    let csv = get("/films?select=id,title&id=lt.3&order=id", &[("accept", "text/csv")]).await;
    assert_eq!(csv.text, "id,title\n1,\"The Shining\"\n2,Memento");
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let stripped = get(
        "/films?select=id,year&id=eq.4",
        &[("accept", "application/vnd.pgrst.array+json;nulls=stripped")],
    )
    .await;
    assert_eq!(stripped.body, json!([{ "id": 4 }]));
    assert_eq!(get("/films", &[("accept", "image/png")]).await.body["code"], "PGRST107");
    let head = t
        .ask(
            Role::Service,
            Case { method: "HEAD", path: "/films", headers: &[("prefer", "count=exact")], body: None },
        )
        .await;
    assert_eq!((head.status, head.header("content-range"), head.text.as_str()), (200, "0-3/4", ""));
    let zone = get("/rpc/context", &[("prefer", "timezone=Europe/Rome")]).await;
    assert_eq!(
        (&zone.body["z"], zone.header("preference-applied")),
        (&json!("Europe/Rome"), "timezone=Europe/Rome")
    );
    assert_eq!(get("/rpc/context", &[("prefer", "timezone=Mars/Base")]).await.body["z"], "UTC");
    let strict = get("/films", &[("prefer", "handling=strict, timezone=Mars/Base")]).await;
    assert_eq!(
        (strict.status, &strict.body["details"]),
        (400, &json!("Invalid preferences: timezone=Mars/Base"))
    );
    t.world.stop().await;
}

const REP: &str = "return=representation";

#[tokio::test]
async fn inserts_and_upserts() {
    let t = Tables::start().await;
    let many = t
        .send("POST", "/actors?select=id", REP, json!([{ "id": 10, "name": "a" }, { "id": 11, "name": "b" }]))
        .await;
    assert_eq!((many.status, &many.body), (201, &json!([{ "id": 10 }, { "id": 11 }])));
    let single = t.send("POST", "/actors", "return=minimal", json!({ "id": 12, "name": "c" })).await;
    assert_eq!(
        (single.status, single.text.as_str(), single.header("preference-applied")),
        (201, "", "return=minimal")
    );
    let located = t
        .send("POST", "/roles", "return=headers-only", json!({ "film_id": 3, "actor_id": 3, "part": "x" }))
        .await;
    assert_eq!((located.status, located.header("location")), (201, "/roles?film_id=eq.3&actor_id=eq.3"));
    assert_eq!(t.send("POST", "/actors", "", json!([])).await.status, 201);
    let merged = t
        .send(
            "POST",
            "/actors",
            "resolution=merge-duplicates,return=representation",
            json!([{ "id": 10, "name": "A" }]),
        )
        .await;
    assert_eq!((merged.status, &merged.body), (200, &json!([{ "id": 10, "name": "A" }])));
    let mixed = t
        .send(
            "POST",
            "/actors",
            "resolution=merge-duplicates",
            json!([{ "id": 10, "name": "A" }, { "id": 20, "name": "n" }]),
        )
        .await;
    assert_eq!(mixed.status, 201);
    let ignored = t
        .send(
            "POST",
            "/actors",
            "resolution=ignore-duplicates,return=representation",
            json!([{ "id": 10, "name": "Z" }, { "id": 21, "name": "n" }]),
        )
        .await;
    assert_eq!((ignored.status, &ignored.body), (201, &json!([{ "id": 21, "name": "n" }])));
    let missing = t
        .send(
            "POST",
            "/films?columns=title,rating&select=title,rating",
            "missing=default,return=representation",
            json!([{ "title": "d" }, { "title": "e", "rating": 1 }]),
        )
        .await;
    assert_eq!(
        missing.body,
        json!([{ "title": "d", "rating": 5 }, { "title": "e", "rating": 1 }]),
        "{missing:?}"
    );
    let null = t
        .send("POST", "/films?columns=title,rating&select=rating", REP, json!([{ "title": "f", "other": 1 }]))
        .await;
    assert_eq!(null.body, json!([{ "rating": null }]));
    let ragged = t.send("POST", "/films", "", json!([{ "title": "a" }, { "year": 1 }])).await;
    assert_eq!((ragged.status, &ragged.body["message"]), (400, &json!("All object keys must match")));
    let embedded = t
        .send("POST", "/films?select=title,directors(name)", REP, json!({ "title": "g", "director_id": 1 }))
        .await;
    assert_eq!(embedded.body, json!([{ "title": "g", "directors": { "name": "Kubrick" } }]));
    let computed =
        t.send("POST", "/films?select=id,all_roles(part),title_length", REP, json!({ "title": "hh" })).await;
    assert_eq!(
        (&computed.body[0]["all_roles"], &computed.body[0]["title_length"]),
        (&json!([]), &json!(2)),
        "{computed:?}"
    );
    let headers = [("content-type", "text/csv"), ("prefer", REP)];
    let csv = t
        .ask(
            Role::Service,
            Case {
                method: "POST",
                path: "/actors",
                headers: &headers,
                body: Some(json!("id,name\n30,x\n31,NULL")),
            },
        )
        .await;
    assert_eq!((csv.status, &csv.body["code"]), (400, &json!("23502")));
    let csv = t
        .ask(
            Role::Service,
            Case {
                method: "POST",
                path: "/actors",
                headers: &headers,
                body: Some(json!("id,name\n30,x\n31,\"y,z\"")),
            },
        )
        .await;
    assert_eq!(csv.body, json!([{ "id": 30, "name": "x" }, { "id": 31, "name": "y,z" }]));
    let rolled = t
        .send("POST", "/actors", "tx=rollback,return=representation", json!({ "id": 40, "name": "r" }))
        .await;
    assert_eq!(
        (rolled.status, rolled.header("preference-applied")),
        (201, "return=representation, tx=rollback")
    );
    assert_eq!(t.rows("/actors?id=eq.40").await, json!([]));
    t.world.stop().await;
}

#[tokio::test]
async fn updates_deletes_and_puts() {
    let t = Tables::start().await;
    let changed = t.send("PATCH", "/films?id=eq.1&select=id,year", REP, json!({ "year": 1981 })).await;
    assert_eq!(
        (changed.status, &changed.body, changed.header("content-range")),
        (200, &json!([{ "id": 1, "year": 1981 }]), "0-0/*")
    );
    let quiet = t.send("PATCH", "/films?id=eq.1", "count=exact", json!({ "year": 1980 })).await;
    assert_eq!((quiet.status, quiet.header("content-range"), quiet.text.as_str()), (204, "0-0/1", ""));
    let none = t.send("PATCH", "/films?id=eq.99", REP, json!({ "year": 1 })).await;
    assert_eq!((none.status, &none.body, none.header("content-range")), (200, &json!([]), "*/*"));
    let empty = t.send("PATCH", "/films", REP, json!({})).await;
    assert_eq!((empty.status, &empty.body), (200, &json!([])));
    let object = [("accept", "application/vnd.pgrst.object+json"), ("prefer", REP)];
    let several = t
        .ask(
            Role::Service,
            Case {
                method: "PATCH",
                path: "/films?id=lt.3",
                headers: &object,
                body: Some(json!({ "year": 1 })),
            },
        )
        .await;
    assert_eq!((several.status, &several.body["code"]), (406, &json!("PGRST116")));
    assert_eq!(t.rows("/films?year=eq.1").await, json!([]), "rolled back");
    let limited =
        t.send("PATCH", "/films?id=lt.4", "handling=strict,max-affected=2", json!({ "year": 1 })).await;
    assert_eq!(
        (limited.status, &limited.body["code"], &limited.body["details"]),
        (400, &json!("PGRST124"), &json!("The query affects 3 rows"))
    );
    assert_eq!(t.rows("/films?year=eq.1").await, json!([]), "rolled back");
    let gone = t.send("DELETE", "/roles?film_id=eq.2&select=part&order=part", REP, json!("")).await;
    assert_eq!((gone.status, &gone.body), (200, &json!([{ "part": "Cameo" }, { "part": "Leonard" }])));
    let put = t.send("PUT", "/actors?id=eq.50", REP, json!({ "id": 50, "name": "p" })).await;
    assert_eq!((put.status, &put.body), (201, &json!([{ "id": 50, "name": "p" }])));
    let again = t.send("PUT", "/actors?id=eq.50", REP, json!({ "id": 50, "name": "q" })).await;
    assert_eq!((again.status, &again.body), (200, &json!([{ "id": 50, "name": "q" }])));
    assert_eq!(t.send("PUT", "/actors?id=eq.50", "", json!({ "id": 50, "name": "q" })).await.status, 204);
    for (path, body, code) in [
        ("/actors?id=eq.50", json!({ "id": 51, "name": "q" }), "PGRST115"),
        ("/actors?id=gt.50", json!({ "id": 51, "name": "q" }), "PGRST105"),
        ("/actors?id=eq.50&name=eq.q", json!({ "id": 50, "name": "q" }), "PGRST105"),
        ("/actors?id=eq.50&limit=1", json!({ "id": 50, "name": "q" }), "PGRST114"),
    ] {
        assert_eq!(t.send("PUT", path, "", body).await.body["code"], code, "{path}");
    }
    t.world.stop().await;
}

#[tokio::test]
async fn functions_are_called_in_every_way() {
    let t = Tables::start().await;
    for (path, expected) in [
        ("/rpc/add_up?a=1", json!(11)),
        ("/rpc/add_up?a=1&b=2", json!(3)),
        ("/rpc/sum_all?n=1&n=2&n=3", json!(6)),
        (
            "/rpc/find_films?wanted=2000&select=id,directors(name)&title=eq.Tenet",
            json!([{ "id": 3, "directors": { "name": "Nolan" } }]),
        ),
        ("/rpc/find_films?wanted=1900&select=id&order=id.desc&limit=1", json!([{ "id": 3 }])),
        ("/rpc/one_film?wanted=1&select=title", json!({ "title": "The Shining" })),
        ("/rpc/pairs", json!({ "a": 1, "b": "x" })),
        ("/rpc/counted", json!([1, 2, 3, 4, 5])),
    ] {
        let got = t.get(path).await;
        assert_eq!((got.status, &got.body), (200, &expected), "{path}: {got:?}");
    }
    for (path, body, expected) in [
        ("/rpc/add_up", json!({ "a": 1 }), json!(11)),
        ("/rpc/sum_all", json!({ "n": [1, 2] }), json!(3)),
        ("/rpc/whole", json!({ "k": [1] }), json!([1])),
        ("/rpc/find_films?select=id", json!({ "wanted": 2010 }), json!([{ "id": 3 }])),
        ("/rpc/write_it", json!({ "t": "w" }), json!(11)),
    ] {
        let got = t.send("POST", path, "", body).await;
        assert_eq!((got.status, &got.body), (200, &expected), "{path}: {got:?}");
    }
    let void = t.send("POST", "/rpc/nothing", "", json!({})).await;
    assert_eq!((void.status, void.text.as_str()), (204, ""));
    let written = t.get("/rpc/write_it?t=w").await;
    assert_eq!((written.status, &written.body["code"]), (405, &json!("25006")), "a GET changes nothing");
    let tea = t.send("POST", "/rpc/teapot", "", json!({})).await;
    assert_eq!((tea.status, tea.header("x-tea")), (418, "green"));
    let failed = t.send("POST", "/rpc/fail", "", json!({ "code": "x", "text": "no tea" })).await;
    assert_eq!(
        (failed.status, &failed.body["message"], &failed.body["hint"]),
        (418, &json!("no tea"), &json!("short"))
    );
    let either = t.send("POST", "/rpc/over", "", json!({ "a": 1 })).await;
    assert_eq!((either.status, &either.body["code"]), (300, &json!("PGRST203")));
    assert_eq!(
        either.body["message"],
        "Could not choose the best candidate function between: public.over(a => integer), public.over(a => text)"
    );
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let form = t
        .ask(
            Role::Service,
            Case { method: "POST", path: "/rpc/add_up", headers: &form, body: Some(json!("a=1&b=1")) },
        )
        .await;
    assert_eq!(form.body, json!(2), "{form:?}");
    let context = t
        .ask(Role::Anon, Case { method: "GET", path: "/rpc/context", headers: &[("x-y", "z")], body: None })
        .await;
    assert_eq!(
        (&context.body["m"], &context.body["p"], &context.body["h"]["x-y"], &context.body["who"]),
        (&json!("GET"), &json!("/rpc/context"), &json!("z"), &json!("anon"))
    );
    t.world.stop().await;
}

#[tokio::test]
async fn refusals_say_what_postgrest_says() {
    let t = Tables::start().await;
    for (path, status, code, message) in [
        ("/nofilms", 404, "PGRST205", "Could not find the table 'public.nofilms' in the schema cache"),
        (
            "/films?select=id,nothing(id)",
            400,
            "PGRST200",
            "Could not find a relationship between 'films' and 'nothing' in the schema cache",
        ),
        (
            "/trips?select=directors(id)",
            300,
            "PGRST201",
            "Could not embed because more than one relationship was found for 'trips' and 'directors'",
        ),
        (
            "/films?directors.id=eq.1",
            400,
            "PGRST108",
            "'directors' is not an embedded resource in this request",
        ),
        (
            "/directors?select=id,films(id)&order=films(id)",
            400,
            "PGRST118",
            "A related order on 'films' is not possible",
        ),
        (
            "/directors?select=id,films(id)&films=eq.1",
            400,
            "PGRST120",
            "Bad operator on the 'films' embedded resource",
        ),
        ("/films?limit=-1", 416, "PGRST103", "Requested range not satisfiable"),
        ("/films?select=nope", 400, "42703", "column films.nope does not exist"),
        ("/films?id=wat.1", 400, "PGRST100", "\"failed to parse filter (wat.1)\" (line 1, column 1)"),
        ("/rpc/nope?x=1", 404, "PGRST202", "Could not find the function public.nope(x) in the schema cache"),
        ("/broken", 400, "22012", "division by zero"),
    ] {
        let got = t.get(path).await;
        assert_eq!(
            (got.status, &got.body["code"], &got.body["message"]),
            (status, &json!(code), &json!(message)),
            "{path}: {got:?}"
        );
    }
    let delete = t.send("DELETE", "/rpc/add_up", "", json!("")).await;
    assert_eq!((delete.status, &delete.body["code"]), (405, &json!("PGRST101")));
    for body in ["", "{", "[1]"] {
        let got = t.send("POST", "/films", "", json!(body)).await;
        assert_eq!((got.status, &got.body["code"]), (400, &json!("PGRST102")), "{got:?}");
    }
    t.world.stop().await;
}
