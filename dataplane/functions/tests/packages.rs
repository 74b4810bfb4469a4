//! npm packages, from a registry of our own that serves whatever a hostile author would publish.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use functions::{BundleError, Bundler, Packages, PackagesConfig, RunnerConfig, Sources};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{World, body, function, tool, world};

/// One entry of an archive: path, kind as tar spells it, what a link leads to, bytes.
struct Entry<'a>(&'a str, char, &'a str, &'a [u8]);

fn file<'a>(path: &'a str, text: &'a str) -> Entry<'a> {
    Entry(path, '0', "", text.as_bytes())
}

/// A tar archive in the ustar format, compressed.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for Entry(path, kind, target, bytes) in entries {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, path);
        put(100, "0000644");
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", bytes.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(156, &kind.to_string());
        put(157, target);
        put(257, "ustar");
        put(263, "00");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&out).unwrap();
    gzip.finish().unwrap()
}

/// A registry at a port of its own.
struct Registry {
    url: String,
    packages: HashMap<String, (Value, Bytes)>,
}

impl Registry {
    async fn start(make: impl FnOnce(&mut Self)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut registry = Self { url: url.clone(), packages: HashMap::new() };
        make(&mut registry);
        let registry = Arc::new(registry);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let registry = registry.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let answer = registry.answer(head.split(' ').nth(1).unwrap());
                    let (status, bytes) = answer.map_or(("404 Not Found", Bytes::new()), |b| ("200 OK", b));
                    let length = bytes.len();
                    let head =
                        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&bytes).await;
                });
            }
        });
        url
    }

    fn answer(&self, path: &str) -> Option<Bytes> {
        let path = path.trim_start_matches('/');
        match path.strip_suffix("/archive.tgz") {
            Some(name) => self.packages.get(name).map(|(_, archive)| archive.clone()),
            None => self.packages.get(path).map(|(about, _)| about.to_string().into()),
        }
    }

    /// Publishes version 1.0.0.
    fn publish(&mut self, name: &str, more: Value, entries: &[Entry<'_>]) {
        let about = |more: &Value| {
            let mut about = json!({ "name": name, "version": "1.0.0" });
            about.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            about
        };
        let manifest = about(&more).to_string();
        let mut all = vec![file("package/package.json", &manifest)];
        all.extend(entries.iter().map(|Entry(a, b, c, d)| Entry(a, *b, c, d)));
        let bytes = archive(&all);
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha512::digest(&bytes));
        let mut version = about(&more);
        version["dist"] = json!({
            "tarball": format!("{}{name}/archive.tgz", self.url),
            "integrity": format!("sha512-{digest}"),
        });
        let latest = json!({ "latest": "1.0.0" });
        let packument = json!({ "name": name, "dist-tags": latest, "versions": { "1.0.0": version } });
        self.packages.insert(name.to_owned(), (packument, bytes.into()));
    }
}

fn with_packages(world: &World, registry: String) -> RunnerConfig {
    let npm = tool("npm").ancestors().nth(2).unwrap().to_path_buf();
    RunnerConfig { packages: Some(PackagesConfig { npm, registry, ca_file: None }), ..world.config.clone() }
}

fn packages(name: &str, version: &str) -> Packages {
    BTreeMap::from([(name.to_owned(), version.to_owned())])
}

async fn bundled(bundler: &Bundler, source: &str, packages: Packages) -> Result<String, BundleError> {
    let files = BTreeMap::from([("index.ts".to_owned(), Bytes::from(source.to_owned()))]);
    let bundle = bundler.bundle(&Sources { files, entry: "index.ts".into(), packages }).await?;
    Ok(String::from_utf8(bundle.code.to_vec()).unwrap())
}

const SAY: &str = "export const say = (name) => `hello ${name}`;";

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_resolved_installed_and_bundled() {
    let world = world();
    let url = Registry::start(|registry| {
        let depends = json!({ "type": "module", "main": "index.js", "dependencies": { "leaf": "^1.0.0" } });
        registry.publish("greeter", depends, &[file("package/index.js", "export { say } from 'leaf';")]);
        let module = json!({ "type": "module", "main": "index.js" });
        registry.publish("leaf", module, &[file("package/index.js", SAY)]);
    });
    let bundler = Bundler::new(with_packages(&world, url.await));
    let resolved = bundler.resolve(&packages("greeter", "latest")).await.unwrap();
    assert_eq!(resolved, packages("greeter", "1.0.0"), "what was asked for, not what it depends on");
    let source = "import { say } from 'greeter'; export default () => new Response(say('zoe'));";
    let code = bundled(&bundler, source, resolved).await.unwrap();
    assert_eq!(body(&world.ask(&function("greets", &code)).await.unwrap()), "hello zoe");

    for (name, version, words) in [("nothing", "latest", "404"), ("leaf", "^2.0.0", "No matching version")] {
        match bundler.resolve(&packages(name, version)).await {
            Err(BundleError::Source(said)) => {
                assert!(said.contains(words) && !said.contains("/tmp"), "{said}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let gone = Bundler::new(with_packages(&world, "http://127.0.0.1:1/".to_owned()));
    let gone = gone.resolve(&packages("leaf", "latest")).await;
    assert!(matches!(gone, Err(BundleError::Unavailable(_))), "not the author's fault: {gone:?}");
    let none = Bundler::new(world.config.clone()).resolve(&packages("leaf", "latest")).await;
    assert!(matches!(none, Err(BundleError::Unavailable(_))), "{none:?}");
}

// F10. Goal: a package runs nothing, writes nowhere but in its own folder, links to nothing, and comes from the
// registry. Method: publish packages that try.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_packages_do_nothing() {
    let world = world();
    let module = json!({ "type": "module", "main": "index.js" });
    let scripts = json!({ "type": "module", "main": "index.js", "scripts": {
        "preinstall": "echo hacked > /tmp/packages/node_modules/scripts/index.js",
        "install": "echo hacked > /tmp/packages/node_modules/scripts/index.js",
        "postinstall": "echo hacked > /tmp/packages/node_modules/scripts/index.js",
    } });
    let secret = world.config.folder.join("secret.js");
    std::fs::write(&secret, "export const say = () => 'secret';").unwrap();
    let secret = secret.display().to_string();
    let url = Registry::start(|registry| {
        let index = file("package/index.js", SAY);
        registry.publish("scripts", scripts, &[file("package/index.js", SAY)]);
        let climbing =
            [index, file("package/../../../../src/index.ts", "hacked"), file("/src/index.ts", "hacked")];
        registry.publish("climbing", module.clone(), &climbing);
        let link = [Entry("package/index.js", '2', secret.as_str(), b"")];
        registry.publish("linking", module.clone(), &link);
        let hard = [Entry("package/index.js", '1', secret.as_str(), b"")];
        registry.publish("binding", module.clone(), &hard);
        let twins = [file("package/index.js", SAY), file("package/INDEX.js", "hacked")];
        registry.publish("twins", module.clone(), &twins);
        let elsewhere = [
            ("by-url", "http://169.254.169.254/latest/package.tgz"),
            ("by-file", "file:../../../src"),
            ("by-git", "git+https://127.0.0.1/x.git"),
        ];
        for (name, place) in elsewhere {
            let depends = json!({ "main": "index.js", "dependencies": { "other": place } });
            registry.publish(name, depends, &[file("package/index.js", SAY)]);
        }
    });
    let bundler = Bundler::new(with_packages(&world, url.await));
    for name in ["scripts", "climbing", "twins"] {
        let source =
            format!("import {{ say }} from '{name}'; export default () => new Response(say('zoe'));");
        let code = bundled(&bundler, &source, packages(name, "1.0.0")).await.expect(name);
        assert!(!code.contains("hacked"), "{code}");
        assert_eq!(body(&world.ask(&function(name, &code)).await.unwrap()), "hello zoe");
    }
    for name in ["linking", "binding"] {
        let source =
            format!("import {{ say }} from '{name}'; export default () => new Response(say('zoe'));");
        let error = bundled(&bundler, &source, packages(name, "1.0.0")).await.expect_err(name).to_string();
        assert!(error.contains("Could not resolve") && !error.contains("secret'"), "{error}");
    }
    for name in ["by-url", "by-file", "by-git"] {
        match bundler.resolve(&packages(name, "1.0.0")).await {
            Err(BundleError::Source(said)) => assert!(said.contains("npm: "), "{name}: {said}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

// F10. Goal: an archive that unpacks to more than there is room for is refused, and the machine keeps its memory.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_grows_beyond_all_bounds_is_refused() {
    let world = world();
    let large = vec![0; 200 << 20];
    let url = Registry::start(|registry| {
        let zeros = [Entry("package/a", '0', "", &large), Entry("package/b", '0', "", &large)];
        registry.publish("bomb", json!({ "main": "index.js" }), &zeros);
    });
    let bundler = Bundler::new(with_packages(&world, url.await));
    let refused = bundled(&bundler, "import 'bomb'; export default 1;", packages("bomb", "1.0.0")).await;
    match refused {
        Err(BundleError::Source(said)) => assert!(said.contains("npm: "), "{said}"),
        other => panic!("{other:?}"),
    }
}
