//! Calls of functions, by key and by route.

use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::{admin, deploy, invoke, logged, request, send_deploy};
use crate::deploys::kit::{function, ready, set_secret, sql};

const ECHO: &str = "export default async (req: Request): Promise<Response> => {
    const body = Buffer.from(await req.arrayBuffer()).toString('hex');
    const headers = Object.fromEntries([...req.headers]);
    console.log(`asked ${req.method} ${process.env.TOKEN ?? 'nothing'}`);
    const answer = new Headers({ 'x-mine': 'yes' });
    answer.append('set-cookie', 'a=1');
    answer.append('set-cookie', 'b=2');
    return Response.json({ method: req.method, url: req.url, body, headers, token: process.env.TOKEN ?? null },
        { status: 202, headers: answer });
};";

// Contract 03 sections 2.6, 3.3, 3.4 and 4.5. F11. Goal: a call by key reaches the handler byte by byte, without
// what only the API may see; a secret reaches the next call and no log.
#[tokio::test]
async fn a_call_by_key_reaches_the_handler_and_nothing_of_ours_leaks() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let made = deploy(&lab, &project, "echo", ECHO).await;
    assert_eq!((&made["status"], &made["runtime"]), (&json!("deployed"), &json!("node22")));
    assert_eq!((&made["timeout"], &made["memory"]), (&json!(10), &json!(128)), "the tier's limits");
    let sent = request(&lab, &project, "PUT", "echo/sub?x=1&y=%2F")
        .header("authorization", "Bearer mine")
        .header("sign-in-with-x", "signed")
        .header("x-run402-user-id", "forged")
        .header("x-custom", "abc")
        .body(b"\x00\xff{}".to_vec());
    let answer = lab.send(sent).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let (body, seen) = (&answer.body, &answer.body["headers"]);
    assert_eq!(
        (&body["method"], &body["body"], &body["token"]),
        (&json!("PUT"), &json!("00ff7b7d"), &Value::Null)
    );
    assert_eq!(body["url"], lab.url("/functions/v1/echo/sub?x=1&y=%2F"));
    assert_eq!((&seen["x-custom"], &seen["authorization"]), (&json!("abc"), &json!("Bearer mine")));
    for hidden in ["apikey", "sign-in-with-x", "x-run402-user-id"] {
        assert!(seen[hidden].is_null(), "{hidden}: {seen}");
    }
    let id = answer.headers["x-run402-request-id"].to_str().unwrap();
    assert!(id.starts_with("req_") && seen["x-run402-request-id"] == id, "{answer:?}");
    assert_eq!(
        (&answer.headers["x-mine"], answer.headers.get_all("set-cookie").iter().count()),
        (&"yes".parse().unwrap(), 2)
    );

    assert_eq!(set_secret(&lab, &project, "TOKEN", "tok-123456").await.status, 200);
    assert_eq!(invoke(&lab, &project, "echo").await.body["token"], "tok-123456", "the next call has it");
    let entry = logged(&lab, &project, "echo", "asked POST").await;
    assert_eq!(entry["message"], "asked POST [redacted]");
    let id = entry["request_id"].as_str().unwrap();
    let of_one = admin(&lab, &project, "GET", &format!("/echo/logs?request_id={id}"), None).await.body;
    assert_eq!(of_one["logs"].as_array().unwrap().len(), 1, "{of_one}");

    let keyless = lab.send(lab.http.post(lab.url("/functions/v1/echo"))).await;
    assert_eq!((keyless.status, &keyless.body["code"]), (401, &json!("UNAUTHORIZED")));
    let missing = invoke(&lab, &project, "nobody").await;
    assert_eq!((missing.status, &missing.body["code"]), (404, &json!("FUNCTION_NOT_FOUND")));
    let large = lab.send(request(&lab, &project, "POST", "echo").body(vec![0; 6 * 1024 * 1024 + 1])).await;
    assert_eq!(large.status, 413, "{large:?}");
    let (_, other) = lab.project().await;
    assert_eq!(invoke(&lab, &other, "echo").await.status, 404, "another project's key knows other functions");
}

// F07, F14. Goal: what a function does wrong is told to its caller, is in its log, and does not outlive the call.
#[tokio::test]
async fn a_function_that_fails_answers_with_a_code_and_the_next_call_is_fine() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let code = "export default async (req) => {
        const what = new URL(req.url).searchParams.get('x');
        if (what === 'throw') throw new Error('broken on purpose');
        if (what === 'loop') for (;;);
        if (what === 'exit') process.exit(1);
        if (what === 'large') return new Response(new Uint8Array(6 * 1024 * 1024 + 1));
        if (what === 'status') return new Response('gone', { status: 410 });
        if (what === 'value') return undefined;
        return new Response('fine');
    };";
    let body = json!({ "name": "bad", "code": code, "config": { "timeout": 2 } });
    assert_eq!(send_deploy(&lab, &project, body).await.status, 201);
    for (what, status, code) in [
        ("throw", 500, "FUNCTION_ERROR"),
        ("loop", 504, "FUNCTION_TIMEOUT"),
        ("exit", 500, "FUNCTION_ERROR"),
        ("large", 502, "ROUTED_RESPONSE_TOO_LARGE"),
    ] {
        let answer = invoke(&lab, &project, &format!("bad?x={what}")).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{what}: {answer:?}");
        assert_eq!(answer.body["request_id"], answer.headers["x-run402-request-id"].to_str().unwrap());
        assert!(!answer.body.to_string().contains("on purpose"));
        assert_eq!(invoke(&lab, &project, "bad").await.body, "fine", "after {what}");
    }
    let own = invoke(&lab, &project, "bad?x=status").await;
    assert_eq!((own.status, &own.body), (410, &json!("gone")), "its own refusals are its own");
    assert_eq!(invoke(&lab, &project, "bad?x=value").await.body, Value::Null);
    logged(&lab, &project, "bad", "Error: broken on purpose").await;
    logged(&lab, &project, "bad", "no answer within 2 s").await;
    logged(&lab, &project, "bad", "ROUTED_RESPONSE_TOO_LARGE").await;
}

// Contract 03 sections 2.1 to 2.4 and 3.6. Goal: what does not build is told with its line and leaves the old
// version serving; limits, names and schedules are judged; a change takes effect at once.
#[tokio::test]
async fn functions_are_made_changed_and_deleted_and_mistakes_leave_the_old_one() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    deploy(&lab, &project, "a", "export default () => new Response('one')").await;
    let broken = "export default () => {\n  return new Response('two'\n};";
    let refused = send_deploy(&lab, &project, json!({ "name": "a", "code": broken })).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (422, &json!("FUNCTION_BUILD_FAILED")),
        "{refused:?}"
    );
    let told = refused.body["message"].as_str().unwrap();
    assert!(told.contains("index.ts:3") && told.contains("};"), "{told}");
    let unknown = json!({ "name": "a", "code": "import z from 'zod'; export default z;" });
    let refused = send_deploy(&lab, &project, unknown).await;
    assert!(refused.body["message"].as_str().unwrap().contains("Could not resolve \"zod\""), "{refused:?}");
    assert_eq!(invoke(&lab, &project, "a").await.body, "one");
    deploy(&lab, &project, "a", "export default () => new Response('two')").await;
    assert_eq!(invoke(&lab, &project, "a").await.body, "two", "live when it is answered");

    let good = "export default () => new Response('x')";
    for (body, status) in [
        (json!({ "name": "Bad Name", "code": good }), 400),
        (json!({ "name": "runs", "code": good }), 400),
        (json!({ "name": "b", "code": "" }), 400),
        (json!({ "name": "b", "code": good, "schedule": "every day" }), 400),
        (json!({ "name": "b", "code": good, "config": { "timeout": 0 } }), 400),
        (json!({ "name": "b", "code": good, "config": { "timeout": 11 } }), 422),
        (json!({ "name": "b", "code": good, "config": { "memory": 129 } }), 422),
        (json!({ "name": "b", "code": good, "schedule": "* * * * *" }), 422),
        (json!({ "name": "b", "code": good, "deps": ["zod"] }), 400),
    ] {
        let refused = send_deploy(&lab, &project, body.clone()).await;
        assert_eq!(refused.status, status, "{body}: {refused:?}");
    }
    let changed = admin(&lab, &project, "PATCH", "/a", Some(json!({ "config": { "timeout": 5 } }))).await;
    assert_eq!((changed.status, &changed.body["timeout"]), (200, &json!(5)), "{changed:?}");
    let same = admin(&lab, &project, "PATCH", "/a", Some(json!({}))).await;
    assert_eq!((same.status, &same.body["timeout"]), (200, &json!(5)), "{same:?}");
    let all = admin(&lab, &project, "GET", "", None).await.body;
    assert_eq!((&all["functions"][0]["name"], all["functions"].as_array().unwrap().len()), (&json!("a"), 1));
    assert_eq!(admin(&lab, &project, "GET", "/a/logs", None).await.body, json!({ "logs": [] }));
    assert_eq!(
        admin(&lab, &project, "DELETE", "/a", None).await.body,
        json!({ "status": "deleted", "name": "a" })
    );
    assert_eq!(admin(&lab, &project, "DELETE", "/a", None).await.status, 404);
    assert_eq!(admin(&lab, &project, "GET", "/a/logs", None).await.status, 404);
    assert_eq!(invoke(&lab, &project, "a").await.status, 404);
    let anon = project["anon_key"].as_str().unwrap();
    let path = format!("/projects/v1/admin/{}/functions", project["project_id"].as_str().unwrap());
    assert_eq!(lab.with_key(anon, "GET", &path, None).await.status, 403);
}

// Contract 03 sections 5.2 to 5.4. Goal: a routed function is asked by method and path, with both forms of its
// request; what it answers is passed on and never kept.
#[tokio::test]
async fn a_route_leads_to_its_function_with_both_forms_of_the_request() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let code = "import { json, isRequest } from '@run402/functions';
        export default async (event) => {
            if (event.path === '/api/moved') return new Response(null, { status: 302, headers: { location: '/next' } });
            if (event.path === '/api/boom') throw new Error('boom');
            const data = event.body ? Buffer.from(event.body.data, 'base64').toString() : null;
            const form = await event.clone().text();
            return json({ routed: isRequest(event), path: event.path, query: event.rawQuery, data, form,
                url: new URL(event.url).pathname, host: event.headers.some(([name]) => name === 'host'),
                cookie: event.cookies.raw, pattern: event.context.routePattern, key: event.headers.get('apikey') },
                { status: 201, cookies: ['s=1'] });
        };";
    let parts = json!({
        "site": { "replace": { "index.html": crate::deploys::kit::reference("home", "text/html") } },
        "functions": { "replace": { "api": function(code) } },
        "routes": { "replace": [{ "pattern": "/api/*", "methods": ["GET", "POST"],
            "target": { "type": "function", "name": "api" } }] },
    });
    let done = ready(&lab, &wallet, &project, parts, &["home", code]).await;
    assert_eq!(done["urls"]["api"], lab.url("/functions/v1/api"), "{done}");
    let site = reqwest::Url::parse(done["urls"]["project"].as_str().unwrap()).unwrap();
    let host = format!("{}:{}", site.host_str().unwrap(), site.port().unwrap());
    let ask = |method: &str, path: &str| {
        let request = lab.http.request(method.parse().unwrap(), lab.url(path)).header("host", &host);
        request.header("cookie", "sid=9").header("apikey", "mine")
    };
    let answer = lab.send(ask("POST", "/api/cart?dry=1").body("qty=1")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let expected = json!({ "routed": true, "path": "/api/cart", "query": "dry=1", "data": "qty=1", "form": "qty=1",
        "url": "/api/cart", "host": true, "cookie": "sid=9", "pattern": "/api/*", "key": null });
    assert_eq!(answer.body, expected);
    let headers = &answer.headers;
    assert_eq!(
        (&headers["cache-control"], &headers["x-run402-cache"]),
        (&"private, no-store".parse().unwrap(), &"dynamic-bypass".parse().unwrap())
    );
    assert_eq!(headers["set-cookie"], "s=1");
    assert!(!headers.contains_key("access-control-allow-origin"), "{headers:?}");
    let head = lab.send(ask("HEAD", "/api/cart")).await;
    assert_eq!((head.status, &head.body), (201, &json!("")), "{head:?}");
    let moved = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let moved = moved.get(lab.url("/api/moved")).header("host", &host).send().await.unwrap();
    assert_eq!((moved.status().as_u16(), &moved.headers()["location"]), (302, &"/next".parse().unwrap()));
    let failed = lab.send(ask("GET", "/api/boom").header("accept", "application/json")).await;
    assert_eq!((failed.status, &failed.body["code"]), (500, &json!("FUNCTION_ERROR")), "{failed:?}");
    let page = lab.send(ask("GET", "/api/boom").header("accept", "text/html")).await;
    assert!(page.body.as_str().unwrap().starts_with("<!doctype html>"), "{page:?}");
    assert_eq!(lab.send(ask("DELETE", "/api/cart")).await.status, 405);
    let large = lab.send(ask("POST", "/api/cart").body(vec![0; 6 * 1024 * 1024 + 1])).await;
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(lab.send(ask("GET", "/api")).await.body, "home");
}

// F08, F12. Goal: a function reaches our API and its own project's data, and nothing else of this machine;
// functions that call one another without end are stopped.
#[tokio::test]
async fn a_function_reaches_its_own_project_and_nothing_else_here() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    assert_eq!(
        sql(&lab, &project, "create table items (id serial primary key, title text)").await.status,
        200
    );
    let code = include_str!("reach.mjs");
    deploy(&lab, &project, "data", code).await;
    let port = |name: &str| {
        let url = reqwest::Url::parse(lab.server.ready[name].as_str().unwrap()).unwrap();
        url.port().unwrap()
    };
    let ports = json!({ "ports": [port("chain_rpc"), port("s3"), port("internal"), 5999] });
    let seen = lab.send(request(&lab, &project, "POST", "data").json(&ports)).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let seen = seen.body;
    assert_eq!(
        (&seen["title"], &seen["count"], &seen["user"]),
        (&json!("one"), &json!(1), &Value::Null),
        "{seen}"
    );
    assert_eq!(seen["visitor"], "0", "row security holds for visitors: {seen}");
    for refused in seen["refused"].as_array().unwrap().iter().chain([&seen["metadata"]]) {
        assert!(refused.as_str().unwrap().contains("private address"), "{seen}");
    }
    assert!(seen["ping"].as_str().unwrap().starts_with("200"), "{seen}");
    for local in ["clock", "mail"] {
        assert!(
            seen[local].as_str().unwrap().starts_with('4'),
            "{local} is for programs of this machine: {seen}"
        );
    }

    let itself = "export default async () => {
            const again = await fetch(`${process.env.RUN402_API_BASE}/functions/v1/circle`,
                { method: 'POST', headers: { apikey: process.env.RUN402_ANON_KEY } });
            return new Response(await again.text(), { status: again.status });
        };";
    deploy(&lab, &project, "circle", itself).await;
    let stopped = invoke(&lab, &project, "circle").await;
    assert_eq!((stopped.status, &stopped.body["code"]), (508, &json!("FUNCTION_LOOP")), "{stopped:?}");
}

// Goal: `/status` says whether functions run, and a function lives through a restart of the server.
#[tokio::test]
async fn functions_live_through_a_restart() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    deploy(&lab, &project, "a", "export default () => new Response('here')").await;
    assert_eq!(invoke(&lab, &project, "a").await.body, "here");
    let status = lab.get("/status").await.body;
    assert_eq!(status["functions"]["running"], true, "{status}");
    assert!(status["capabilities"].as_array().unwrap().contains(&json!("functions")));
    let lab = lab.crash_and_restart().await;
    let answer = eventually("the function after a crash", 30, || async {
        let answer = invoke(&lab, &project, "a").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.body, "here");
}
