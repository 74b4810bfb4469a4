//! A checkpoint between the driver and a tenant's database.
//!
//! The driver keeps a whole message in memory before anyone can ask for its size, and Postgres sends up to a
//! gigabyte in one: a row with one large value. So sessions of tenants go through a socket of this process
//! that reads only the head of each message, and answers one that is too large with an error instead.
//! Notices and notifications end here as well: they are tenants' words, and the driver would log them.
//!
//! Only what is not encrypted can be looked into: see [`connect`].

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// The SQLSTATE of a message that was held back.
pub const MESSAGE_TOO_LARGE: &str = "R4020";
/// More than any row that an answer may hold: its values, and four bytes for each of 1,664 columns.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
const ACCEPT_SECS_MAX: u64 = 10;
const LEAVE_SECS_MAX: u64 = 1;
/// Any number: the socket is alone in its folder.
const PORT: u16 = 5432;

/// Asks whether the server speaks TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const NOTICE: u8 = b'N';
const NOTIFICATION: u8 = b'A';

/// The task that passes messages on. Dropping it cuts both connections.
pub(super) struct Relay(Option<JoinHandle<()>>);

/// Connects through a relay. A cell that speaks TLS is connected to directly: its own memory limit for a
/// backend is then the only bound of a message.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<(PgConnection, Relay), sqlx::Error> {
    let Some(far) = reach(options).await? else {
        return Ok((PgConnection::connect_with(options).await?, Relay(None)));
    };
    let folder = Folder::make()?;
    let listener = UnixListener::bind(folder.0.join(socket_name(PORT)))?;
    let near = options.clone().socket(&folder.0).port(PORT).ssl_mode(PgSslMode::Disable);
    let relay = Relay(Some(tokio::spawn(async move {
        if let Err(e) = accept(listener, folder, far).await {
            tracing::debug!(error = %e, "tenant session ended");
        }
    })));
    Ok((PgConnection::connect_with(&near).await?, relay))
}

impl Relay {
    /// Waits until the last message of a closed connection is with the server.
    pub(super) async fn finish(mut self) {
        if let Some(task) = &mut self.0 {
            // What has not left by then is cut off below.
            let _ = tokio::time::timeout(Duration::from_secs(LEAVE_SECS_MAX), task).await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// A connection to a server, whatever it is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The server's end of a relay; `None` when what goes over it is encrypted.
pub(super) async fn reach(options: &PgConnectOptions) -> io::Result<Option<Box<dyn Stream>>> {
    let (host, port) = (options.get_host(), options.get_port());
    let folder = options.get_socket().map(PathBuf::as_path);
    if let Some(folder) = folder.or_else(|| host.starts_with('/').then(|| Path::new(host))) {
        return Ok(Some(Box::new(UnixStream::connect(folder.join(socket_name(port))).await?)));
    }
    let mut stream = match options.get_ssl_mode() {
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => TcpStream::connect((host, port)).await?,
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => return Ok(None),
    };
    stream.set_nodelay(true)?;
    if matches!(options.get_ssl_mode(), PgSslMode::Prefer) {
        stream.write_all(&SSL_REQUEST).await?;
        // `S`: it would, so the driver shall.
        if stream.read_u8().await? != b'N' {
            return Ok(None);
        }
    }
    Ok(Some(Box::new(stream)))
}

fn socket_name(port: u16) -> String {
    format!(".s.PGSQL.{port}")
}

/// A folder for one socket that nobody else can enter. Gone as soon as the driver is connected.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Self> {
        let path = PathBuf::from(format!("/tmp/r402-relay-{:016x}", rand::random::<u64>()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // An empty folder in the temporary place harms nobody.
    }
}

async fn accept(listener: UnixListener, folder: Folder, far: Box<dyn Stream>) -> io::Result<()> {
    let accepted = tokio::time::timeout(Duration::from_secs(ACCEPT_SECS_MAX), listener.accept()).await;
    let (near, _) = accepted.map_err(|_| io::ErrorKind::TimedOut)??;
    drop((listener, folder));
    pass(near, far).await
}

/// Ends with either side.
async fn pass(near: UnixStream, far: Box<dyn Stream>) -> io::Result<()> {
    let (mut near_reads, near_writes) = near.into_split();
    let (far_reads, mut far_writes) = tokio::io::split(far);
    tokio::select! {
        up = tokio::io::copy(&mut near_reads, &mut far_writes) => up.map(drop),
        down = screen(far_reads, near_writes) => down,
    }
}

/// Passes the server's messages on, one at a time, never a whole one in memory.
async fn screen(far: impl AsyncRead + Unpin, near: impl AsyncWrite + Unpin) -> io::Result<()> {
    let (mut far, mut near) = (BufReader::new(far), BufWriter::new(near));
    loop {
        if far.buffer().is_empty() {
            near.flush().await?;
            if far.fill_buf().await?.is_empty() {
                return Ok(());
            }
        }
        let (kind, length) = (far.read_u8().await?, far.read_u32().await?);
        if length > MESSAGE_BYTES_MAX {
            near.write_all(&refusal(length)).await?;
            return near.shutdown().await;
        }
        let body_bytes = u64::from(length.checked_sub(4).ok_or(io::ErrorKind::InvalidData)?);
        let mut body = (&mut far).take(body_bytes);
        let copied = if matches!(kind, NOTICE | NOTIFICATION) {
            tokio::io::copy_buf(&mut body, &mut tokio::io::sink()).await?
        } else {
            near.write_u8(kind).await?;
            near.write_u32(length).await?;
            tokio::io::copy_buf(&mut body, &mut near).await?
        };
        if copied != body_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// An `ErrorResponse` in the place of a message.
fn refusal(length: u32) -> Vec<u8> {
    let mut fields = Vec::new();
    let text = format!("a message of {length} bytes was held back");
    for (field, value) in [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', MESSAGE_TOO_LARGE), (b'M', text.as_str())]
    {
        fields.push(field);
        fields.extend(value.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).expect("four short fields");
    [&[b'E'][..], &length.to_be_bytes(), &fields].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    async fn screened(sent: &[u8]) -> (Vec<u8>, io::Result<()>) {
        let mut passed = Vec::new();
        let outcome = screen(sent, &mut passed).await;
        (passed, outcome)
    }

    #[tokio::test]
    async fn messages_pass_and_notices_do_not() {
        let (row, ready) = (message(b'D', b"row"), message(b'Z', b"I"));
        let sent = [row.clone(), message(NOTICE, b"forged\nline"), message(NOTIFICATION, b""), ready.clone()];
        let (passed, outcome) = screened(&sent.concat()).await;
        outcome.unwrap();
        assert_eq!(passed, [row, ready].concat());
    }

    // G09: only the head of a large message is read.
    #[tokio::test]
    async fn a_large_message_is_answered_with_an_error_and_nothing_more() {
        let head = [&[b'D'][..], &(MESSAGE_BYTES_MAX + 1).to_be_bytes()].concat();
        let (passed, outcome) = screened(&[head, message(b'Z', b"I")].concat()).await;
        outcome.unwrap();
        assert_eq!(passed, refusal(MESSAGE_BYTES_MAX + 1));
        assert!(passed.windows(6).any(|w| w == b"CR4020"));
    }

    #[tokio::test]
    async fn a_message_that_breaks_off_or_lies_about_its_length_ends_the_session() {
        let cut = &message(b'D', b"row")[..6];
        assert!(screened(cut).await.1.is_err());
        assert!(screened(&[b'D', 0, 0, 0, 3]).await.1.is_err());
    }
}
