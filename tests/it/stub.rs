//! As much of an HTTP server as stand-ins of other people's services need: one request, one answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Request {
    /// Request line and headers.
    pub head: String,
    /// Path and query.
    pub target: String,
    pub body: String,
}

/// Reads one request; none when the client hangs up.
pub async fn read(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= at + 4 + length {
                let body = String::from_utf8_lossy(&bytes[at + 4..at + 4 + length]).into_owned();
                let target = head.split(' ').nth(1)?.to_owned();
                return Some(Request { head, target, body });
            }
        }
        match socket.read(&mut buffer).await.ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Answers JSON, and hangs up.
pub async fn answer(socket: &mut TcpStream, status: u16, location: Option<&str>, body: &str) {
    let location = location.map(|url| format!("location: {url}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} As-Told\r\ncontent-type: application/json\r\n{location}content-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that goes away in the middle is its own affair.
    let _ = socket.write_all(head.as_bytes()).await;
    let _ = socket.shutdown().await;
}
