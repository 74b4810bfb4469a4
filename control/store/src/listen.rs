//! Hints from the database. A lost hint costs latency; every listener polls as well.

use sqlx::Row;
use sqlx::postgres::PgListener;

use crate::{During, Store, StoreError};

/// A stream of `(channel, payload)`.
pub struct Hints {
    listener: PgListener,
    /// The server's process behind the connection, once it was asked.
    backend: Option<i32>,
}

impl Store {
    /// Listens on channels of this database (`outbox`, `project`, `subdomain`). Reconnects by itself.
    ///
    /// # Errors
    /// `Db` when the first connection fails.
    pub async fn listen(&self, channels: &[&str]) -> Result<Hints, StoreError> {
        let mut listener = PgListener::connect_with(self.pool()).await.during("listen")?;
        listener.listen_all(channels.iter().copied()).await.during("listen")?;
        Ok(Hints { listener, backend: None })
    }
}

impl Hints {
    /// Waits for the next hint. `None` says that the connection was lost and hints may have been missed:
    /// reread everything.
    ///
    /// # Errors
    /// `Db` when reconnecting fails.
    pub async fn next(&mut self) -> Result<Option<(String, String)>, StoreError> {
        let hint = self.listener.try_recv().await.during("wait for a hint")?;
        Ok(hint.map(|n| (n.channel().to_owned(), n.payload().to_owned())))
    }

    /// Asks over the same connection whether it still is there. False says that it is another one than at the
    /// last time, and hints may have been missed. Hints that came meanwhile are kept for [`Self::next`].
    ///
    /// # Errors
    /// `Db` when the server does not answer.
    pub async fn is_unbroken(&mut self) -> Result<bool, StoreError> {
        let asked = sqlx::query("select pg_backend_pid()").fetch_one(&mut self.listener).await;
        let backend: i32 = asked.and_then(|row| row.try_get(0)).during("ask after hints")?;
        Ok(self.backend.replace(backend).is_none_or(|before| before == backend))
    }
}
