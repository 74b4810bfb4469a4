//! One connection.

use std::collections::HashMap;
use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use futures::FutureExt;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;
use store::cells::{Door, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::{Entropy, OsEntropy};

use crate::rest::error::PgError;

/// The server may send a gigabyte in one message; only its head is read of one that is larger than this.
const MESSAGE_BYTES_MAX: i32 = 16 << 20;
const PLAN_BYTES_MAX: usize = 16 << 20;
/// Statements that stay prepared on one connection.
const PREPARED_MAX: usize = 200;
const READ_BYTES: usize = 16 << 10;

/// Why an exchange failed. After `Broken` and `TooLarge` the connection is of no more use.
#[derive(Debug)]
pub(in crate::rest) enum WireError {
    /// The server refused; the transaction is rolled back.
    Refused {
        error: PgError,
        step: usize,
    },
    /// A message larger than an answer may be.
    TooLarge,
    Broken(io::Error),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// One statement of an exchange.
#[derive(Debug, Clone, Copy)]
pub(in crate::rest) struct Step<'a> {
    /// What it is remembered by: the text alone, or with the role it is planned for.
    pub key: &'a str,
    pub text: &'a str,
    pub params: &'a [Option<String>],
    /// Stays prepared. Statements that are unlikely to come again do not.
    pub keep: bool,
}

/// First rows of the steps. Of a plan, which comes line by line, the lines are one value.
#[derive(Debug, Default)]
pub(in crate::rest) struct Ran {
    pub rows: Vec<Option<Vec<Option<String>>>>,
}

/// A signed-in connection.
pub(in crate::rest) struct Conn {
    stream: Box<dyn Stream>,
    read: BytesMut,
    write: BytesMut,
    /// The backend's process id.
    pub pid: i32,
    /// Names by key.
    prepared: HashMap<String, String>,
    /// Begins every name; random, so that no function can deallocate or replace our statements.
    prefix: String,
    made: u64,
}

impl Conn {
    /// Signs in. `options` are settings of the session that outrank those the tenant gave the role.
    pub async fn open(door: Door, options: &[(&str, &str)]) -> Result<Self, WireError> {
        let secret = OsEntropy.secret();
        let prefix = secret[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        let (read, write) = (BytesMut::with_capacity(READ_BYTES), BytesMut::with_capacity(4096));
        let (prepared, pid, made) = (HashMap::new(), 0, 0);
        let mut conn = Self { stream: door.stream, read, write, pid, prepared, prefix, made };
        let mut startup = vec![
            ("user", door.user.as_str()),
            ("database", door.database.as_str()),
            ("client_encoding", "UTF8"),
        ];
        startup.extend(options);
        frontend::startup_message(startup, &mut conn.write)?;
        conn.sign_in(&door.password).await?;
        loop {
            match conn.message().await? {
                Message::BackendKeyData(body) => conn.pid = body.process_id(),
                Message::ReadyForQuery(_) => return Ok(conn),
                Message::ErrorResponse(body) => return Err(refused(&body, 0)),
                _ => {}
            }
        }
    }

    async fn sign_in(&mut self, password: &str) -> Result<(), WireError> {
        let mut scram: Option<ScramSha256> = None;
        loop {
            self.send().await?;
            match self.message().await? {
                Message::AuthenticationOk => return Ok(()),
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(password.as_bytes(), &mut self.write)?;
                }
                Message::AuthenticationSasl(_) => {
                    let made = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, made.message(), &mut self.write)?;
                    scram = Some(made);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let scram = scram.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
                    scram.update(body.data())?;
                    frontend::sasl_response(scram.message(), &mut self.write)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let scram = scram.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
                    scram.finish(body.data())?;
                }
                Message::ErrorResponse(body) => return Err(refused(&body, 0)),
                _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
            }
        }
    }

    /// Whether the server has not hung up meanwhile. An idle connection has nothing to read.
    pub fn is_alive(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        self.read.is_empty() && self.stream.read(&mut byte).now_or_never().is_none()
    }

    /// Runs the steps in one round trip, and in one transaction unless one of them begins or ends one.
    pub async fn run(&mut self, steps: &[Step<'_>]) -> Result<Ran, WireError> {
        if self.prepared.len() + steps.len() > PREPARED_MAX {
            for (_, name) in self.prepared.drain() {
                frontend::close(b'S', &name, &mut self.write)?;
            }
        }
        let mut fresh: Vec<Option<String>> = Vec::with_capacity(steps.len());
        for step in steps {
            fresh.push(self.push(step)?);
        }
        frontend::sync(&mut self.write);
        self.send().await?;
        self.collect(steps, &fresh).await
    }

    /// Writes one step; the name that it gets when it was not prepared before.
    fn push(&mut self, step: &Step<'_>) -> Result<Option<String>, WireError> {
        let known = self.prepared.get(step.key).cloned();
        let name = match &known {
            Some(name) => name.clone(),
            None if step.keep => {
                self.made += 1;
                format!("r_{}_{}", self.prefix, self.made)
            }
            None => String::new(),
        };
        if known.is_none() {
            frontend::parse(&name, step.text, [], &mut self.write)?;
        }
        let value = |value: &Option<String>, buffer: &mut BytesMut| match value {
            Some(text) => {
                buffer.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        };
        frontend::bind("", &name, [], step.params, value, [], &mut self.write).map_err(|e| match e {
            frontend::BindError::Serialization(e) => e,
            frontend::BindError::Conversion(e) => io::Error::other(e),
        })?;
        frontend::execute("", 0, &mut self.write)?;
        Ok(known.is_none().then_some(name))
    }

    async fn collect(&mut self, steps: &[Step<'_>], fresh: &[Option<String>]) -> Result<Ran, WireError> {
        let mut rows: Vec<Option<Vec<Option<String>>>> = vec![None; steps.len()];
        let (mut at, mut error) = (0, None);
        let mut unparsed = fresh.iter().enumerate().filter(|(_, name)| name.is_some());
        loop {
            let message = match self.message().await {
                // If the server said why it hung up, that is what matters.
                Err(WireError::Broken(e)) => return Err(error.unwrap_or(WireError::Broken(e))),
                message => message?,
            };
            match message {
                Message::ParseComplete => {
                    if let Some((index, Some(name))) = unparsed.next()
                        && steps[index].keep
                    {
                        self.prepared.insert(steps[index].key.to_owned(), name.clone());
                    }
                }
                Message::DataRow(body) => match rows.get_mut(at) {
                    Some(row @ None) => *row = Some(values(&body)?),
                    Some(Some(row)) if is_plan(steps, at) => append(row, values(&body)?)?,
                    _ => {}
                },
                Message::CommandComplete(_) | Message::EmptyQueryResponse => at += 1,
                Message::ErrorResponse(body) => error = error.or(Some(refused(&body, at))),
                Message::ReadyForQuery(_) => {
                    return error.map_or(Ok(Ran { rows }), Err);
                }
                _ => {}
            }
        }
    }

    /// Forgets everything that a function may have left behind, and everything we had prepared.
    pub async fn discard(&mut self) -> Result<(), WireError> {
        self.prepared.clear();
        self.simple("discard all").await
    }

    pub async fn simple(&mut self, text: &str) -> Result<(), WireError> {
        frontend::query(text, &mut self.write)?;
        self.send().await?;
        let mut error = None;
        loop {
            match self.message().await? {
                Message::ErrorResponse(body) => error = Some(refused(&body, 0)),
                Message::ReadyForQuery(_) => return error.map_or(Ok(()), Err),
                _ => {}
            }
        }
    }

    async fn send(&mut self) -> Result<(), WireError> {
        self.stream.write_all(&self.write).await?;
        self.write.clear();
        self.stream.flush().await?;
        Ok(())
    }

    /// The next message, never a whole one that is too large in memory.
    async fn message(&mut self) -> Result<Message, WireError> {
        loop {
            if let Some(header) = Header::parse(&self.read)?
                && header.len() > MESSAGE_BYTES_MAX
            {
                return Err(WireError::TooLarge);
            }
            if let Some(message) = Message::parse(&mut self.read)? {
                return Ok(message);
            }
            self.read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn is_plan(steps: &[Step<'_>], at: usize) -> bool {
    steps.get(at).is_some_and(|step| step.text.starts_with("EXPLAIN"))
}

/// Another line of the first value.
fn append(row: &mut [Option<String>], line: Vec<Option<String>>) -> Result<(), WireError> {
    if let (Some(Some(text)), Some(Some(line))) = (row.first_mut(), line.into_iter().next()) {
        if text.len() + line.len() > PLAN_BYTES_MAX {
            return Err(WireError::TooLarge);
        }
        text.push('\n');
        text.push_str(&line);
    }
    Ok(())
}

fn values(body: &DataRowBody) -> Result<Vec<Option<String>>, WireError> {
    let text = |range: Option<std::ops::Range<usize>>| {
        Ok(range.map(|range| String::from_utf8_lossy(&body.buffer()[range]).into_owned()))
    };
    Ok(body.ranges().map(text).collect()?)
}

fn refused(body: &ErrorResponseBody, step: usize) -> WireError {
    let mut error = PgError::default();
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'V' => error.fatal = text != "ERROR",
            b'C' => error.sqlstate = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            b'H' => error.hint = Some(text),
            _ => {}
        }
    }
    WireError::Refused { error, step }
}
