//! I07: bytes that two readers of HTTP could understand differently, and peers that never finish.

use std::time::Duration;

use tests::Lab;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes as they are and reads until the server closes, or stays silent for a while.
pub async fn exchange(lab: &Lab, bytes: impl AsRef<[u8]>) -> String {
    let mut socket = TcpStream::connect(lab.api.trim_start_matches("http://")).await.unwrap();
    let _ = socket.write_all(bytes.as_ref()).await; // It may be refused before its end.
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(Ok(n @ 1..)) = tokio::time::timeout(Duration::from_secs(3), socket.read(&mut chunk)).await {
        answer.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn answers(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect()
}

/// What a smuggler hides behind a body.
const HIDDEN: &str = "GET /no/such/hidden HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

// I07. Goal: where a request ends is never a matter of opinion. Method: every disagreement about length, with a
// request hidden behind it; the hidden one must not be answered.
#[tokio::test]
async fn no_request_hides_behind_another() {
    let lab = Lab::start().await;
    let post =
        |headers: &str, body: &str| format!("POST /faucet/v1 HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}");
    let length = HIDDEN.len() + 5;
    for (headers, body) in [
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), "0\r\n\r\n"),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), "0\r\n\r\n"),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n".to_owned(), "0\r\n\r\n"),
    ] {
        let answer = exchange(&lab, post(&headers, body) + HIDDEN).await;
        assert_eq!(answers(&answer).len(), 1, "{headers}: {answer}");
        assert!(!answer.contains("hidden"), "{headers}: {answer}");
    }
    for headers in [
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: \r\n 5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5 5\r\n",
        "X: a\0b\r\n",
        "X: a\rb\r\n",
        "X\0: a\r\n",
        "X Y: a\r\n",
        ": a\r\n",
        " X: a\r\n",
        "X: a\r\n folded\r\n",
        "Host: b\r\n",
    ] {
        let answer = exchange(&lab, post(headers, "0\r\n\r\n") + HIDDEN).await;
        let statuses = answers(&answer);
        assert!(!statuses.is_empty() && statuses.iter().all(|s| *s == "400"), "{headers:?}: {answer}");
        assert!(!answer.contains("hidden"), "{headers:?}: {answer}");
    }
    for line in [
        "GET /health HTTP/3.0",
        "GET  /health HTTP/1.1",
        "GET /health",
        "GET /he alth HTTP/1.1",
        "GE\0T /health HTTP/1.1",
        "/health GET HTTP/1.1",
        "GET /health\0 HTTP/1.1",
        "GET /health HTTP/1.1 x",
        "\x16\x03\x01\x02",
    ] {
        let answer = exchange(&lab, format!("{line}\r\nHost: a\r\n\r\n") + HIDDEN).await;
        assert!(
            answers(&answer).iter().all(|status| *status == "400") && !answer.contains("hidden"),
            "{line}: {answer}"
        );
    }
    for body in [
        "FFFFFFFFFFFFFFFFF\r\nx",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \x01\r\nhello\r\n",
        "zz\r\n",
        "5\rhello\r\n0\r\n\r\n",
    ] {
        let answer = exchange(&lab, post("Transfer-Encoding: chunked\r\n", body) + HIDDEN).await;
        assert!(
            answers(&answer).iter().all(|status| *status == "400") && !answer.contains("hidden"),
            "{body:?}: {answer}"
        );
    }
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1 << 20));
    let answer = exchange(&lab, post("Transfer-Encoding: chunked\r\n", &extension)).await;
    assert!(answers(&answer).iter().all(|status| *status == "400"), "{answer}");
    ordinary_oddities(&lab).await;
    lab_answers(&lab).await;
}

/// What is allowed and rare.
async fn ordinary_oddities(lab: &Lab) {
    let two = "GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /no/such HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(answers(&exchange(lab, two).await), ["200", "404"], "pipelined, in order");
    let upgrade = "GET /status HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(answers(&exchange(lab, upgrade).await), ["200"], "not switched");
    let h2c = "GET /status HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, \
      close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
    assert_eq!(answers(&exchange(lab, h2c).await), ["200"]);
    let mut waiting = TcpStream::connect(lab.api.trim_start_matches("http://")).await.unwrap();
    let head = "POST /faucet/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: \
      100-continue\r\nConnection: close\r\n\r\n";
    waiting.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 25];
    tokio::time::timeout(Duration::from_secs(5), waiting.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    waiting.write_all(b"{}").await.unwrap();
    let mut rest = String::new();
    waiting.read_to_string(&mut rest).await.unwrap();
    assert_eq!(answers(&rest), ["400"], "{rest}");
    for (method, target) in [
        ("CONNECT", "evil.example:443"),
        ("TRACE", "/health"),
        ("OPTIONS", "*"),
        ("BREW", "/health"),
        ("get", "/health"),
    ] {
        let answer = exchange(
            lab,
            format!("{method} {target} HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nConnection: close\r\n\r\n"),
        )
        .await;
        let statuses = answers(&answer);
        assert!(
            statuses.len() == 1 && statuses[0].starts_with('4') && !answer.contains("secret"),
            "{method}: {answer}"
        );
    }
    let big = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(500));
    for request in [big, many] {
        let answer = exchange(lab, request).await;
        assert!(answers(&answer).iter().all(|status| *status == "431" || *status == "400"), "{answer}");
    }
    // Bytes that were packed are not unpacked: a bomb stays small.
    let bomb = "POST /faucet/v1 HTTP/1.1\r\nHost: a\r\nContent-Encoding: \
      gzip\r\nContent-Length: 10\r\nConnection: close\r\n\r\n\x1f\x08\0\0\0\0\0\0\0\x03";
    assert_eq!(answers(&exchange(lab, bomb).await), ["400"]);
}

async fn lab_answers(lab: &Lab) {
    assert_eq!(lab.get("/health").await.status, 200);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// `GET http://a/` in HPACK.
const GET_ROOT: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

// I07, CVE-2023-44487, CVE-2024-27316. Goal: floods of one HTTP/2 connection cost that connection, nobody else.
// Method: open and reset streams by the thousand; headers that never end; a table bomb; silent peers by the hundred.
#[tokio::test]
async fn floods_end_their_own_connection() {
    let lab = Lab::start().await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[])].concat();
    let mut resets = preface.clone();
    for stream in (1..20_000).step_by(2) {
        resets.extend(frame(HEADERS, 5, stream, &GET_ROOT));
        resets.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut endless = [preface.clone(), frame(HEADERS, 1, 1, &GET_ROOT)].concat();
    for _ in 0..2_000 {
        endless.extend(frame(
            CONTINUATION,
            0,
            1,
            &[[0x00, 0x01, b'x', 0x7f, 0x80, 0x00].as_slice(), &[b'y'; 127]].concat(),
        ));
    }
    let mut table = [preface.clone(), frame(HEADERS, 4, 1, &GET_ROOT)].concat();
    table.extend(frame(HEADERS, 5, 3, &[GET_ROOT.as_slice(), &[0xbe; 16_000]].concat()));
    for (name, bytes, ends) in
        [("rapid reset", resets, true), ("endless headers", endless, true), ("table bomb", table, false)]
    {
        let mut socket = TcpStream::connect(lab.api.trim_start_matches("http://")).await.unwrap();
        let (mut reads, mut writes) = socket.split();
        let mut came = Vec::new();
        let send = async {
            let _ = writes.write_all(&bytes).await; // It is cut off in the middle.
        };
        let receive = async { reads.read_to_end(&mut came).await };
        let both = async { tokio::join!(send, receive) };
        // A list of headers that is too long costs its stream alone.
        let ended = tokio::time::timeout(Duration::from_secs(if ends { 15 } else { 2 }), both).await.is_ok();
        let said = frames(&came);
        let refused = said.contains(&GOAWAY) || ended;
        assert!(
            refused || !ends && (said.contains(&HEADERS) || said.contains(&RST_STREAM)),
            "{name}: {said:?}"
        );
        lab_answers(&lab).await;
    }
    let address = lab.api.trim_start_matches("http://");
    let mut silent = Vec::new();
    for n in 0..400 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            socket
                .write_all(b"POST /faucet/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
                .await
                .unwrap();
        }
        silent.push(socket);
    }
    let asked = std::time::Instant::now();
    lab_answers(&lab).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

/// The kinds of the frames in what came.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        kinds.push(bytes[3]);
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    kinds
}
