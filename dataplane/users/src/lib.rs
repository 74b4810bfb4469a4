//! A project's end users: rows of the schema `auth` in the project's own database, reached by its login
//! `_auth` and by nobody else. Nothing here decides who may ask; `plane` does.

mod accounts;
mod admission;
mod google;
mod joining;
mod links;
pub mod mail;
pub mod oidc;
mod passkeys;
pub mod password;
mod rows;
mod schema;
mod sessions;
mod settings;
pub mod token;
mod user_key;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use store::cells::{Cells, Login, Session, SessionError, Slot};

pub use accounts::{Account, Identity, PasswordRight, WantedUser};
pub use admission::{Standing, admits};
pub use google::{FLOW_SECS, Flow, NewFlow, Traded};
pub use joining::Refusal;
pub use links::{Intent, LINK_MINUTES, LinkAsked, LinkProof, LinkUsed, NewLink};
pub use passkeys::{Ceremony, Challenge, NewPasskey, PasskeyGuard, PasskeyRecord, PasskeyRefusal, Realm};
pub use rows::{NewUser, User, email_normal};
pub use sessions::{NewSession, Refreshed, SessionFacts};
pub use settings::{Settings, SettingsChange, Signup};
pub use user_key::UserKey;

/// Slots whose schema is known to be current.
const READY_MAX: usize = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// All connections, or all hashing threads, are in use.
    #[error("busy")]
    Busy,
    #[error("tenant database")]
    Store(#[from] store::StoreError),
}

impl From<SessionError> for UsersError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Busy => Self::Busy,
            SessionError::Store(error) => Self::Store(error),
        }
    }
}

impl From<password::Busy> for UsersError {
    fn from(_: password::Busy) -> Self {
        Self::Busy
    }
}

/// The users of every project. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    cells: Cells,
    pub passwords: password::Passwords,
    /// Where Google sign-ins go; none where they are not offered.
    pub google: Option<Arc<oidc::Provider>>,
    ready: Arc<Mutex<HashSet<i32>>>,
}

impl Users {
    pub fn new(cells: Cells) -> Self {
        Self { cells, passwords: password::Passwords::default(), google: None, ready: Arc::default() }
    }

    /// The same with Google sign-ins.
    pub fn with_google(self, google: Option<oidc::Provider>) -> Self {
        Self { google: google.map(Arc::new), ..self }
    }

    /// A connection of the login `_auth`, on a schema of this version.
    async fn open(&self, slot: &Slot) -> Result<Session, UsersError> {
        let settings = [("statement_timeout", "5000".to_owned()), ("search_path", "pg_catalog".to_owned())];
        let mut session = self.cells.session(slot, Login::Auth, &settings).await?;
        let known = self.ready.lock().unwrap_or_else(PoisonError::into_inner).contains(&slot.number);
        if !known {
            schema::ensure(&mut session.conn).await?;
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.len() >= READY_MAX {
                ready.clear();
            }
            // Numbers of slots are never used again.
            ready.insert(slot.number);
        }
        Ok(session)
    }
}
