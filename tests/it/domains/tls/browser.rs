//! A page of assets on a domain of its own, in a real browser.

use std::process::Command;

use serde_json::Value;
use tests::{Browser, eventually, fresh_folder, target_binary};

use super::super::obey;
use super::world;

const DOMAIN: &str = "shop.acme.test";

/// The tags that an asset's addresses are for.
fn script(asset: &Value, sri: &Value) -> String {
    let (url, sri) = (asset["immutable_url"].as_str().unwrap(), sri.as_str().unwrap());
    format!("<script src=\"{url}\" integrity=\"{sri}\" crossorigin></script>")
}

fn image(asset: &Value) -> String {
    let (url, sri) = (asset["immutable_url"].as_str().unwrap(), asset["sri"].as_str().unwrap());
    format!("<img src=\"{url}\" data-sri=\"{sri}\" crossorigin>")
}

// Issue 6, done means. Goal: a page on a custom domain over TLS whose script and image are assets with SRI. Method: the
// words of the command line, a real browser, and a certificate of the local authority. Its chain is verified by rustls
// against the authority's root alone; the browser believes in that one key, and without it refuses the page.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_assets_with_sri_on_a_domain_of_its_own_over_tls() {
    let world = world().await;
    let lab = &world.lab;
    let home = fresh_folder();
    let dist = home.join("dist");
    std::fs::create_dir_all(&dist).unwrap();
    let run = |args: &[&str]| -> Value {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join("config"));
        let done = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "run402 {args:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap()
    };
    let file = |name: &str, text: &str| {
        let path = home.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let put = |name: &str, text: &str| run(&["blob", "put", &file(name, text), "--immutable"]);
    let deploy = |html: &str| {
        std::fs::write(dist.join("index.html"), html).unwrap();
        run(&["sites", "deploy-dir", dist.to_str().unwrap()])
    };

    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    run(&["projects", "provision", "--name", "shop"]);
    deploy("soon");
    run(&["subdomains", "claim", "shop"]);
    obey(&world.dns, DOMAIN, &run(&["domains", "add", DOMAIN, "shop"]));
    let active = eventually("the domain", 30, || async {
        let status = run(&["domains", "status", DOMAIN]);
        (status["status"] == "active").then_some(status)
    })
    .await;
    let origin = active["url"].as_str().unwrap();
    assert_eq!(origin, format!("https://{DOMAIN}:{}", world.tls.port()));

    let ran = put("app.js", "document.getElementById('h').textContent = 'hello ' + location.host");
    let tampered = put("other.js", "document.title = 'tampered'");
    let picture = put("i.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"7\" height=\"5\"/>");
    for asset in [&ran, &tampered, &picture] {
        let url = asset["immutable_url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{origin}/_blob/")), "on the project's own domain: {asset}");
    }
    let html = format!(
        "<!doctype html><title>t</title><h1 id=h></h1>{}{}{}",
        image(&picture),
        script(&ran, &ran["sri"]),
        script(&tampered, &ran["sri"]),
    );
    deploy(&html);
    let shown = || async { world.page(DOMAIN).await.filter(|page| *page == html) };
    eventually("the page behind its certificate", 30, shown).await;

    let resolve = format!("--host-resolver-rules=MAP {DOMAIN} 127.0.0.1");
    let believe = format!("--ignore-certificate-errors-spki-list={}", world.key_shown(DOMAIN).await);
    let mut stranger = Browser::start_with(std::slice::from_ref(&resolve));
    let refused = stranger.ask("Page.navigate", serde_json::json!({ "url": origin }));
    assert_eq!(refused["errorText"], "net::ERR_CERT_AUTHORITY_INVALID", "{refused}");
    drop(stranger);

    let mut browser = Browser::start_with(&[resolve, believe]);
    browser.open(&format!("{origin}/")).await;
    assert_eq!(browser.run("document.getElementById('h').textContent"), origin.replace("https://", "hello "));
    assert_eq!(browser.run("document.title"), "t", "a script with another hash ran");
    let size = browser.run("(([i]) => [i.complete, i.naturalWidth, i.naturalHeight])(document.images)");
    assert_eq!(size, serde_json::json!([true, 7, 5]));
    assert_eq!(browser.run("isSecureContext && location.protocol"), "https:");
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.run(protocol), "h2");
    // Images have no integrity of their own; what was shown is fetched by its hash, and by another.
    let fetched = "(async ([i], [s]) => { const f = sri => fetch(i.src, { integrity: sri }).then(r => r.status, \
        () => 'refused'); return [await f(i.dataset.sri), await f(s.integrity)] })(document.images, document.scripts)";
    assert_eq!(browser.run(fetched), serde_json::json!([200, "refused"]));
    let loaded = browser.run("performance.getEntriesByType('resource').map(one => one.name)");
    let loaded: Vec<&str> = loaded.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for asset in [&ran, &picture] {
        assert!(loaded.contains(&asset["immutable_url"].as_str().unwrap()), "{loaded:?}");
    }
    drop(browser);
    let _ = std::fs::remove_dir_all(home);
    lab.assert_books_agree();
}
