//! A provider of OpenAI's protocol for tests: it checks what it is sent, counts, and goes wrong when told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::stub::{Request, answer, read};

const KEY: &str = "sk-lab";
/// One pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Busy.
    Busy,
    /// Fails.
    Fails,
    /// Does not take our key.
    Locked,
    /// Refuses the text.
    Refuses,
    /// Answers after the deadline.
    Sleeps,
    /// Hangs up.
    HangsUp,
    /// Answers something else.
    Garbage,
    /// Answers JSON that holds something else.
    OtherJson,
    /// Sends a picture that is none.
    NoPicture,
    /// Sends elsewhere.
    Redirects,
    /// Fails shortly before the deadline.
    FailsLate,
    /// Answers shortly before the deadline.
    Late,
}

impl Fault {
    /// Those that leave nothing but a failure, at once or at the deadline.
    pub const ALL: [Self; 10] = [
        Self::Busy,
        Self::Fails,
        Self::Locked,
        Self::Refuses,
        Self::Sleeps,
        Self::HangsUp,
        Self::Garbage,
        Self::OtherJson,
        Self::NoPicture,
        Self::Redirects,
    ];
}

#[derive(Default)]
struct State {
    fault: Mutex<Option<Fault>>,
    calls: Mutex<Vec<(String, Value)>>,
}

/// A running provider. Ends with the test's runtime.
pub struct Provider {
    pub url: String,
    state: Arc<State>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = serving.clone();
                tokio::spawn(async move { state.serve(socket).await });
            }
        });
        Self { url, state }
    }

    /// What `up` is told. Calls end after four seconds.
    pub fn args(&self) -> Vec<String> {
        ["--ai-url", &self.url, "--ai-key", KEY, "--ai-timeout", "4"].map(str::to_owned).into()
    }

    pub fn fault(&self, fault: Option<Fault>) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Bodies that were sent to a path.
    pub fn calls(&self, path: &str) -> Vec<Value> {
        let calls = self.state.calls.lock().unwrap();
        calls.iter().filter(|(asked, _)| asked == path).map(|(_, body)| body.clone()).collect()
    }
}

impl State {
    async fn serve(&self, mut socket: TcpStream) {
        let Some(Request { head, target, body }) = read(&mut socket).await else { return };
        let body: Value = serde_json::from_str(&body).unwrap();
        let path = target.strip_prefix("/v1").unwrap().to_owned();
        let key = format!("authorization: bearer {KEY}");
        assert!(head.to_ascii_lowercase().lines().any(|line| line == key), "{head}");
        self.calls.lock().unwrap().push((path.clone(), body.clone()));
        let fault = *self.fault.lock().unwrap();
        let said = |words: &str| json!({ "error": { "message": words } });
        let (status, location, body) = match fault {
            None => (200, None, good(&path, &body)),
            Some(Fault::Busy) => (429, None, said("too many")),
            Some(Fault::Fails) => (500, None, said("it broke")),
            Some(Fault::Locked) => (401, None, said("no such key")),
            Some(Fault::Refuses) => (400, None, said("not this text")),
            Some(Fault::Sleeps) => {
                tokio::time::sleep(Duration::from_secs(6)).await;
                (200, None, good(&path, &body))
            }
            Some(Fault::FailsLate) => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                (500, None, said("it broke"))
            }
            Some(Fault::Late) => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                (200, None, good(&path, &body))
            }
            Some(Fault::HangsUp) => return,
            Some(Fault::Garbage) => {
                return answer(&mut socket, 200, None, "<html>welcome</html>").await;
            }
            Some(Fault::OtherJson) => (200, None, json!({ "data": [], "choices": [], "results": [] })),
            Some(Fault::NoPicture) => (200, None, no_picture()),
            Some(Fault::Redirects) => (307, Some("http://127.0.0.1:9/v1"), Value::Null),
        };
        answer(&mut socket, status, location, &body.to_string()).await;
    }
}

fn no_picture() -> Value {
    json!({
        "data": [{ "b64_json": "PHN2Zy8+" }],
        "choices": [{ "message": { "content": "Hola" } }],
        "results": [{ "flagged": "perhaps" }],
    })
}

fn good(path: &str, body: &Value) -> Value {
    match path {
        "/images/generations" => {
            assert_eq!((&body["model"], &body["n"]), (&json!("image"), &json!(1)), "{body}");
            json!({ "created": 1, "data": [{ "b64_json": PNG }] })
        }
        "/chat/completions" => {
            assert_eq!(body["messages"][1]["role"], "user", "{body}");
            let said = json!({ "text": "Hola, mundo", "from": "EN" }).to_string();
            json!({ "choices": [{ "message": { "role": "assistant", "content": said } }] })
        }
        "/moderations" => json!({
            "results": [{
                "flagged": true,
                "categories": { "violence": true, "spam": false },
                "category_scores": { "violence": 0.97, "spam": 0.01 },
            }],
        }),
        other => panic!("{other}"),
    }
}
