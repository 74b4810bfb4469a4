//! Requests from end to end: schema, statement, connection, answer.

use std::sync::Arc;

use store::cells::{Cells, Slot};

use super::cache::{self, Cache};
use super::error::{Failure, PgError, RestError};
use super::openapi;
use super::prepare::{Job, Kind, Request};
use super::request::{Answer, Ask, Role, Target, Who};
use super::respond;
use super::run::{self, DEADLINE, Done, Undone};
use super::schema::{Schema, Volatility};
use super::wire::{CONNECTIONS_MAX, Lease, Pools, Ran, Step};

/// A statement is tried again when the schema it was made for is gone, or its connection was.
const TRIES_MAX: usize = 3;
/// As many connections may be idle in a pool, each of them spoilt by a tenant's trigger.
const SPOILT_MAX: usize = 8;
/// The server does not know a prepared statement any more.
const UNKNOWN_STATEMENT: &str = "26000";
/// The deadline's own refusal, as the server would word it.
const TIMED_OUT: &str = "57014";

/// The REST engine of this process. Cheap to clone.
#[derive(Clone)]
pub struct Rest {
    inner: Arc<Inner>,
}

struct Inner {
    pools: Pools,
    cache: Cache,
}

impl Rest {
    pub fn new(cells: Cells) -> Self {
        Self::with_connections(cells, CONNECTIONS_MAX)
    }

    /// At most so many connections over all cells and projects, idle ones included.
    pub fn with_connections(cells: Cells, connections_max: usize) -> Self {
        let pools = Pools::new(cells, connections_max);
        Self { inner: Arc::new(Inner { pools, cache: Cache::default() }) }
    }

    /// Answers a request on a project's database, refusals included. Runs to its end even when the caller
    /// goes away: the deadline must be kept by someone.
    ///
    /// # Errors
    /// What the platform says in its own envelope: busy, unavailable, an answer that is too large, an outcome
    /// that is not known.
    pub async fn answer(&self, slot: &Slot, who: Who, ask: Ask) -> Result<Answer, Box<types::Problem>> {
        let (rest, slot) = (self.clone(), slot.clone());
        let work = async move {
            let outcome = rest.inner.answer(&slot, &who, &ask).await;
            match outcome {
                Ok(answer) => Ok(answer),
                Err(Failure::Refused(error)) => Ok(refusal(*error, &ask)),
                Err(Failure::Platform(problem)) => Err(problem),
            }
        };
        match tokio::spawn(work).await {
            Ok(done) => done,
            Err(_) => Err(Box::new(types::Problem::new(types::Code::Internal, "the server failed"))),
        }
    }
}

impl Rest {
    /// The statements that a request on a table becomes, with the values of `$1` and on: for whoever explains
    /// them or runs them by other means. Nothing but the schema is read.
    ///
    /// # Errors
    /// What the request is refused for before it is run.
    pub async fn statements(
        &self,
        slot: &Slot,
        who: &Who,
        ask: &Ask,
    ) -> Result<[(String, Vec<Option<String>>); 2], Failure> {
        let request = Request::read(ask, who.role)?;
        let (schema, _) = self.inner.schema(slot, who).await?;
        let job = request.job(&schema)?;
        let settings = run::settings(&schema, who, ask, &job).to_vec();
        Ok([(run::settings_text(&schema), settings), (job.statement.text, job.statement.params)])
    }
}

/// A refusal on the wire.
fn refusal(error: RestError, ask: &Ask) -> Answer {
    let mut headers = vec![
        ("content-type".to_owned(), "application/json; charset=utf-8".to_owned()),
        ("proxy-status".to_owned(), format!("PostgREST; error={}", error.code)),
    ];
    let body = if ask.method == "HEAD" { String::new() } else { error.body().to_string() };
    headers.extend(error.headers);
    Answer { status: error.status, headers, body }
}

impl Inner {
    async fn answer(&self, slot: &Slot, who: &Who, ask: &Ask) -> Result<Answer, Failure> {
        let request = Request::read(ask, who.role)?;
        if ask.method == "OPTIONS" {
            return self.options(slot, who, ask).await;
        }
        if ask.target == Target::Root {
            return self.describe(slot, who, ask, &request).await;
        }
        let mut tried = 0;
        let mut request = request;
        loop {
            tried += 1;
            let (schema, fresh) = self.schema(slot, who).await?;
            let job = match request.job(&schema) {
                Ok(job) => job,
                // What is missing may have been made meanwhile.
                Err(_) if !fresh && self.is_stale(slot, who, &schema).await? => continue,
                Err(error) => return Err(error.into()),
            };
            match self.run(slot, (who, ask), &schema, &job).await {
                Ok(done) => {
                    if done.version != schema.version {
                        self.cache.forget(slot.number, &schema);
                    }
                    return Ok(respond::answer(&job, done.outcome)?);
                }
                Err(Undone::Verdict(error)) => return Err(error.into()),
                Err(Undone::NotRun(failure)) => return Err(failure),
                Err(Undone::Spoilt) if tried < SPOILT_MAX => {}
                Err(Undone::Spoilt) => return Err(Failure::unavailable()),
                Err(Undone::Zone) => {
                    let zone = request.prefer.timezone.take().unwrap_or_default();
                    request.prefer.invalid.push(format!("timezone={zone}"));
                    request.prefer.check()?;
                }
                Err(Undone::TooLarge) => return Err(Failure::too_large()),
                Err(Undone::Broken(e)) => {
                    tracing::warn!(error = %e, slot = %slot.name(), "tenant connection");
                    if job.changes {
                        return Err(Failure::unknown());
                    }
                    if tried >= TRIES_MAX {
                        return Err(Failure::unavailable());
                    }
                }
                Err(Undone::Refused(error)) => {
                    let again =
                        error.sqlstate == UNKNOWN_STATEMENT || self.is_stale(slot, who, &schema).await?;
                    if !again || tried >= TRIES_MAX {
                        return Err(told(error, who).into());
                    }
                }
            }
        }
    }

    /// The schema that is remembered, else read now (and then the flag is true).
    async fn schema(&self, slot: &Slot, who: &Who) -> Result<(Arc<Schema>, bool), Failure> {
        if let Some(known) = self.cache.get(slot.number) {
            return Ok((known, false));
        }
        let turn = self.cache.turn(slot.number);
        let _turn = turn.lock().await;
        if let Some(known) = self.cache.get(slot.number) {
            return Ok((known, false));
        }
        let mut lease = self.clean_lease(slot, who).await?;
        let read = tokio::time::timeout(DEADLINE, cache::read(&mut lease.conn, &slot.schema())).await;
        let schema = read.map_err(|_| Failure::unavailable())??;
        lease.give_back();
        Ok((self.cache.put(slot.number, schema), true))
    }

    /// Whether the schema has changed since it was read. If so it is forgotten.
    async fn is_stale(&self, slot: &Slot, who: &Who, schema: &Arc<Schema>) -> Result<bool, Failure> {
        let Some(known) = schema.version else { return Ok(false) };
        let step = Step { key: cache::VERSION, text: cache::VERSION, params: &[], keep: true };
        let mut ran = self.look(slot, who, step).await?;
        let now: Option<i64> = ran.rows.pop().flatten().and_then(|row| row.first()?.as_ref()?.parse().ok());
        let stale = now != Some(known);
        if stale {
            self.cache.forget(slot.number, schema);
        }
        Ok(stale)
    }

    /// Runs a statement of our own on the catalogue, on as many connections as it takes to find one that is not
    /// spoilt.
    async fn look(&self, slot: &Slot, who: &Who, step: Step<'_>) -> Result<Ran, Failure> {
        for _ in 0..SPOILT_MAX {
            let mut lease = self.pools.lease(slot, who.role.login()).await?;
            if let Ok(Ok(ran)) = tokio::time::timeout(DEADLINE, lease.conn.run(&[step])).await {
                lease.give_back();
                return Ok(ran);
            }
        }
        Err(Failure::unavailable())
    }

    /// A connection on which nothing is left of earlier requests.
    async fn clean_lease(&self, slot: &Slot, who: &Who) -> Result<Lease, Failure> {
        for _ in 0..SPOILT_MAX {
            let mut lease = self.pools.lease(slot, who.role.login()).await?;
            if let Ok(Ok(())) = tokio::time::timeout(DEADLINE, lease.conn.discard()).await {
                return Ok(lease);
            }
        }
        Err(Failure::unavailable())
    }

    async fn run(
        &self,
        slot: &Slot,
        (who, ask): (&Who, &Ask),
        schema: &Schema,
        job: &Job,
    ) -> Result<Done, Undone> {
        let login = who.role.login();
        let leased = self.pools.lease(slot, login).await;
        let mut lease = leased.map_err(Undone::NotRun)?;
        let pid = lease.conn.pid;
        let ran = tokio::time::timeout(DEADLINE, run::job(&mut lease, schema, who, ask, job)).await;
        let Ok(ran) = ran else {
            drop(lease);
            if let Err(e) = self.pools.cells().session_end(slot, login, pid).await {
                tracing::warn!(error = &e as &dyn std::error::Error, slot = %slot.name(), "end a tenant session");
            }
            let message = "canceling statement due to statement timeout".to_owned();
            return Err(Undone::Refused(PgError {
                sqlstate: TIMED_OUT.to_owned(),
                message,
                ..PgError::default()
            }));
        };
        let reusable = match &ran {
            Ok(_) | Err(Undone::Verdict(_) | Undone::Zone) => true,
            Err(Undone::Refused(error)) => {
                error.sqlstate != UNKNOWN_STATEMENT && !error.sqlstate.starts_with("57P")
            }
            Err(Undone::TooLarge | Undone::Broken(_) | Undone::Spoilt | Undone::NotRun(_)) => false,
        };
        if reusable {
            give_back(lease, matches!(job.kind, Kind::Call { .. }));
        }
        ran
    }

    async fn options(&self, slot: &Slot, who: &Who, ask: &Ask) -> Result<Answer, Failure> {
        let (mut schema, fresh) = self.schema(slot, who).await?;
        if !fresh && self.is_stale(slot, who, &schema).await? {
            schema = self.schema(slot, who).await?.0;
        }
        let allow = match &ask.target {
            Target::Root | Target::Nowhere => "OPTIONS,GET,HEAD".to_owned(),
            Target::Table(name) => {
                let table = schema.table(name)?;
                let mut words = vec!["OPTIONS", "GET", "HEAD"];
                words.extend(table.insertable.then_some("POST"));
                words.extend(
                    (table.insertable && table.updatable && !table.primary_key.is_empty()).then_some("PUT"),
                );
                words.extend(table.updatable.then_some("PATCH"));
                words.extend(table.deletable.then_some("DELETE"));
                words.join(",")
            }
            Target::Function(name) => {
                let all = schema.functions.get(name).map_or(&[][..], Vec::as_slice);
                let volatile = all.iter().all(|one| one.volatility == Volatility::Volatile);
                (if volatile { "OPTIONS,POST" } else { "OPTIONS,GET,HEAD,POST" }).to_owned()
            }
        };
        Ok(Answer { status: 200, headers: vec![("allow".to_owned(), allow)], body: String::new() })
    }

    async fn describe(
        &self,
        slot: &Slot,
        who: &Who,
        ask: &Ask,
        request: &Request<'_>,
    ) -> Result<Answer, Failure> {
        let media = request.media()?;
        let (mut schema, fresh) = self.schema(slot, who).await?;
        if !fresh && self.is_stale(slot, who, &schema).await? {
            schema = self.schema(slot, who).await?.0;
        }
        let params = [Some(schema.name.clone()), Some(who.role.as_str().to_owned())];
        let step = Step { key: openapi::RIGHTS, text: openapi::RIGHTS, params: &params, keep: true };
        let mut ran = self.look(slot, who, step).await?;
        let rights = ran.rows.pop().flatten().and_then(|mut row| row.first_mut().and_then(Option::take));
        let document = openapi::document(&schema, rights.as_deref().unwrap_or("{}"), &ask.base);
        let headers = vec![("content-type".to_owned(), media.content_type().into_owned())];
        let body = if ask.method == "HEAD" { String::new() } else { document.to_string() };
        Ok(Answer { status: 200, headers, body })
    }
}

/// What a refusal of the server says to this caller.
fn told(error: PgError, who: &Who) -> RestError {
    error.into_rest(who.role == Role::Anon)
}

/// Keeps the connection; after a function was called only when everything it may have left is gone.
fn give_back(mut lease: Lease, called: bool) {
    if !called {
        return lease.give_back();
    }
    tokio::spawn(async move {
        if let Ok(Ok(())) = tokio::time::timeout(DEADLINE, lease.conn.discard()).await {
            lease.give_back();
        }
    });
}
