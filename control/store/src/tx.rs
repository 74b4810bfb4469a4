//! Transactions as values. Whoever begins one commits it; nobody else does.

use std::sync::Arc;

use sqlx::{PgConnection, Postgres, Transaction};

use crate::ledger::AccountIds;
use crate::{During, Fence, Store, StoreError};

/// An open transaction. Dropping it rolls back.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    ledger_ids: Arc<AccountIds>,
}

/// A transaction of the newest holder of one or more claims. There is no other way to write a row an actor
/// owns.
pub struct FencedTx {
    tx: Tx,
}

impl Store {
    /// # Errors
    /// `Db` when no connection is free in time.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let inner = self.pool.begin().await.during("begin")?;
        Ok(Tx { inner, ledger_ids: self.ledger_ids.clone() })
    }

    /// Begins a transaction that only the newest claim holder can be given.
    ///
    /// # Errors
    /// `Fenced` when a newer claim exists.
    pub async fn fenced(&self, fence: &Fence) -> Result<FencedTx, StoreError> {
        self.fenced_all(std::slice::from_ref(fence)).await
    }

    /// The same under several fences at once; they are locked in one order whatever order they come in.
    ///
    /// # Errors
    /// `Fenced` when any of them is superseded.
    pub async fn fenced_all(&self, fences: &[Fence]) -> Result<FencedTx, StoreError> {
        let mut tx = self.begin().await?;
        let mut ordered: Vec<&Fence> = fences.iter().collect();
        ordered.sort_by_key(|fence| (fence.kind, fence.entity));
        for fence in ordered {
            // The shared lock makes a rival's claim wait for this transaction, so none of our writes can
            // commit after the epoch has moved.
            sqlx::query(
                "select 1 from claims where kind = $1 and entity = $2 and epoch = $3 and held for share",
            )
            .bind(fence.kind)
            .bind(fence.entity)
            .bind(fence.epoch)
            .fetch_optional(tx.conn())
            .await
            .during("check fence")?
            .ok_or(StoreError::Fenced)?;
        }
        Ok(FencedTx { tx })
    }
}

impl Tx {
    /// For the functions of this crate.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// What this node knows of the ledger's accounts.
    pub(crate) fn ledger_ids(&self) -> &AccountIds {
        &self.ledger_ids
    }

    /// # Errors
    /// `CommitUnknown` when the answer was lost: look again before anything is repeated.
    pub async fn commit(self) -> Result<(), StoreError> {
        let answer = self.inner.commit().await;
        types::kill_points::awaited("commit");
        match answer {
            Ok(()) => Ok(()),
            // The server spoke, so it did not commit.
            Err(e @ sqlx::Error::Database(_)) => Err(e).during("commit"),
            Err(e) => Err(StoreError::CommitUnknown(e)),
        }
    }

    /// # Errors
    /// `Db` when the connection is gone; the server rolls back all the same.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.inner.rollback().await.during("rollback")
    }
}

impl FencedTx {
    /// The plain transaction within, for writes that need no fence.
    pub fn tx(&mut self) -> &mut Tx {
        &mut self.tx
    }

    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }

    /// # Errors
    /// `CommitUnknown` when the answer was lost.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await
    }

    /// # Errors
    /// `Db` when the connection is gone; the server rolls back all the same.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.tx.rollback().await
    }
}
