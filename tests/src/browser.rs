//! A real Chromium without a window, driven by its DevTools protocol over two pipes: nothing listens.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{eventually, fresh_folder};

const INSTALL: &str = "Chromium is needed for this test: `cargo xtask test` installs it as root, else install it \
    (Debian and Ubuntu: sudo apt-get install chromium)";
/// The protocol is spoken on descriptors 3 and 4, which the shell makes of our two pipes.
const SHELL: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(5);

/// A browser with one page. Ended when dropped.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    profile: PathBuf,
    /// Of the page.
    session: String,
    asked: u64,
}

impl Browser {
    /// Panics with how to install it when there is no Chromium.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more words for Chromium.
    pub fn start_with(more: &[String]) -> Self {
        let profile = fresh_folder();
        let mut command = Command::new("sh");
        command
            .args(["-c", SHELL])
            .args([
                "chromium",
                "--headless=new",
                "--remote-debugging-pipe",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync"])
            .args(more)
            .arg(format!("--user-data-dir={}", profile.display()));
        if nix::unistd::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("sh: {e}"));
        let (to, from) = (child.stdin.take().unwrap(), messages(child.stdout.take().unwrap()));
        let mut browser = Self { child, to, from, profile, session: String::new(), asked: 0 };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", attach);
        attached["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser
    }

    /// One command of the protocol; panics when the browser refuses or stays silent.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut command = json!({ "id": self.asked, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let sent = self.to.write_all(format!("{command}\0").as_bytes()).and_then(|()| self.to.flush());
        let until = Instant::now() + ANSWER_WITHIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(answer) = self.from.recv_timeout(left) else {
                let ended = self.child.try_wait().ok().flatten();
                panic!("{method}: no answer (sent: {sent:?}, ended: {ended:?}). {INSTALL}");
            };
            // What is no answer is an event that nobody asked for.
            if answer["id"] == self.asked {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// An authenticator that is built in, keeps passkeys, and verifies a user who is always there. Its id.
    pub fn add_authenticator(&mut self) -> String {
        self.ask("WebAuthn.enable", json!({}));
        let options = json!({
            "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserVerified": true, "automaticPresenceSimulation": true,
        });
        let added = self.ask("WebAuthn.addVirtualAuthenticator", json!({ "options": options }));
        added["authenticatorId"].as_str().unwrap().to_owned()
    }

    /// Goes there and waits for the page to be complete.
    pub async fn open(&mut self, url: &str) {
        let gone = self.ask("Page.navigate", json!({ "url": url }));
        assert!(gone.get("errorText").is_none(), "{url}: {gone}");
        let wanted = url.to_owned();
        let browser = std::cell::RefCell::new(self);
        eventually("the page", 20, || async {
            let state = browser.borrow_mut().run("[document.readyState, location.href]");
            (state[0] == "complete" && state[1].as_str().unwrap().starts_with(&wanted)).then_some(())
        })
        .await;
    }

    /// The value of an expression in the page, a promise's once it is there; panics when it throws.
    pub fn run(&mut self, script: &str) -> Value {
        let params = json!({
            "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let done = self.ask("Runtime.evaluate", params);
        assert!(done.get("exceptionDetails").is_none(), "{script}: {done}");
        done["result"]["value"].clone()
    }
}

/// What the browser says, message by message.
fn messages(mut from: ChildStdout) -> Receiver<Value> {
    let (to, messages) = channel();
    std::thread::spawn(move || {
        let (mut text, mut bytes) = (Vec::new(), [0; 65_536]);
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            for byte in &bytes[..count] {
                if *byte != 0 {
                    text.push(*byte);
                } else if let Ok(message) = serde_json::from_slice(&std::mem::take(&mut text))
                    && to.send(message).is_err()
                {
                    return;
                }
            }
        }
    });
    messages
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let until = Instant::now() + END_WITHIN;
        while self.child.try_wait().ok().flatten().is_none() {
            if Instant::now() > until {
                // A child that was not waited for yet keeps its number, so the group is ours.
                let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
