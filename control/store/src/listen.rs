//! Hints from the database. A lost hint costs latency; every listener polls as well.

use sqlx::postgres::PgListener;

use crate::{During, Store, StoreError};

/// A stream of `(channel, payload)`.
pub struct Hints {
    listener: PgListener,
}

impl Store {
    /// Listens on channels of this database (`outbox`, `project`, `subdomain`). Reconnects by itself.
    ///
    /// # Errors
    /// `Db` when the first connection fails.
    pub async fn listen(&self, channels: &[&str]) -> Result<Hints, StoreError> {
        let mut listener = PgListener::connect_with(self.pool()).await.during("listen")?;
        listener.listen_all(channels.iter().copied()).await.during("listen")?;
        Ok(Hints { listener })
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
}
