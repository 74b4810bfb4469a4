//! Ways into tenant databases for a driver of its own: the REST engine pipelines, which `sqlx` does not.

use super::relay::{self, Stream};
use super::{Cells, Login, Slot, logins};
use crate::{During, StoreError};

/// An open socket to a cell, and who to sign in as. Nothing was said on it yet.
pub struct Door {
    pub stream: Box<dyn Stream>,
    pub user: String,
    pub password: String,
    pub database: String,
}

impl Cells {
    /// Opens a socket for `login`.
    ///
    /// # Errors
    /// `Db` when the cell cannot be reached; `Corrupt` when it insists on TLS, which this way does not speak.
    pub async fn door(&self, slot: &Slot, login: Login) -> Result<Door, StoreError> {
        let options = self.options_for(slot, login)?;
        let stream = relay::reach(&options).await.map_err(sqlx::Error::Io).during("reach a cell")?;
        let stream = stream.ok_or_else(|| {
            StoreError::Corrupt(format!("cell {} speaks only TLS, which the REST engine does not", slot.cell))
        })?;
        Ok(Door {
            stream,
            user: slot.name().role(login),
            password: logins::password(&self.inner.key, slot.name(), login),
            database: slot.schema(),
        })
    }
}
