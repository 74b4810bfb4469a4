//! One writer per entity over all nodes. The epoch rises at each take-over and every owned write checks it.

use std::time::Duration;

use sqlx::Row;
use types::NodeId;
use uuid::Uuid;

use crate::{During, Store, StoreError};

/// Proof of being the newest claim holder, for as long as nobody takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub kind: &'static str,
    pub entity: Uuid,
    pub epoch: i64,
}

/// The live node that holds a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub node: NodeId,
    pub internal_url: String,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    Ours(Fence),
    Theirs(Peer),
}

impl Store {
    /// Claims an entity for `node`: at once when it is free, given back, ours, or held by a node whose
    /// heartbeat has lapsed. An own earlier claim is superseded too, so an earlier incarnation here is fenced
    /// off.
    ///
    /// Waits for transactions of the previous holder that are under way.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn claim(&self, kind: &'static str, entity: Uuid, node: NodeId) -> Result<Claimed, StoreError> {
        let ours = sqlx::query(
            "insert into claims as c (kind, entity, epoch, node) values ($1, $2, nextval('claim_epochs'), $3)
             on conflict (kind, entity) do update
               set node = excluded.node, epoch = nextval('claim_epochs'), held = true, claimed_at = now()
               where not c.held or c.node = excluded.node
                  or not exists (select from nodes n where n.id = c.node and n.expires_at > now())
             returning epoch",
        )
        .bind(kind)
        .bind(entity)
        .bind(node.0)
        .fetch_optional(self.pool())
        .await
        .during("claim")?;
        if let Some(row) = ours {
            return Ok(Claimed::Ours(Fence { kind, entity, epoch: row.try_get(0).during("claim")? }));
        }
        match self.claim_holder(kind, entity).await? {
            Some(peer) => Ok(Claimed::Theirs(peer)),
            // It lapsed or was given back in between: the next call takes it.
            None => Err(StoreError::Stale("claim")),
        }
    }

    /// The live holder of a claim, if there is one.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn claim_holder(&self, kind: &str, entity: Uuid) -> Result<Option<Peer>, StoreError> {
        let row = sqlx::query(
            "select n.id, n.internal_url from claims c join nodes n on n.id = c.node
             where c.kind = $1 and c.entity = $2 and c.held and n.expires_at > now()",
        )
        .bind(kind)
        .bind(entity)
        .fetch_optional(self.pool())
        .await
        .during("find claim holder")?;
        row.map(|row| {
            Ok(Peer {
                node: NodeId(row.try_get(0).during("find claim holder")?),
                internal_url: row.try_get(1).during("find claim holder")?,
            })
        })
        .transpose()
    }

    /// Gives a claim back. A no-op when it has been taken over already.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn claim_release(&self, fence: &Fence) -> Result<(), StoreError> {
        sqlx::query("update claims set held = false where kind = $1 and entity = $2 and epoch = $3")
            .bind(fence.kind)
            .bind(fence.entity)
            .bind(fence.epoch)
            .execute(self.pool())
            .await
            .during("release claim")?;
        Ok(())
    }

    /// Forgets claims of payments and deploys that have ended: at most `limit`. Nobody may hold them; a
    /// holder that only seems dead finds its fence gone, which refuses it as well. Should one be wanted again,
    /// it is made again, under an epoch that never was.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn claims_sweep(&self, limit: i64) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "delete from claims where (kind, entity) in (
               select c.kind, c.entity from claims c
               where (not c.held or not exists (select from nodes n where n.id = c.node and n.expires_at > now()))
                 and ((c.kind = 'payment' and exists (select from payments p where p.id = c.entity
                        and (p.state in ('failed', 'expired', 'settled')
                          or (p.state = 'credited' and p.finalized_at is not null))))
                   or (c.kind = 'deploy' and exists (select from deploy_operations d where d.id = c.entity
                        and d.status in ('ready', 'failed', 'rolled_back'))))
               limit $1 for update of c skip locked)",
        )
        .bind(limit)
        .execute(self.pool())
        .await
        .during("sweep claims")?;
        Ok(done.rows_affected())
    }

    /// Keeps all claims of `node` for another `ttl`. One row however many claims it has.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn node_heartbeat(
        &self,
        node: NodeId,
        internal_url: &str,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into nodes (id, internal_url, expires_at) values ($1, $2, now() + make_interval(secs => $3))
             on conflict (id) do update set internal_url = excluded.internal_url, expires_at = excluded.expires_at",
        )
        .bind(node.0)
        .bind(internal_url)
        .bind(ttl.as_secs_f64())
        .execute(self.pool())
        .await
        .during("heartbeat")?;
        Ok(())
    }

    /// Gives back every claim of a node that drains, and its place among the living.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn node_leave(&self, node: NodeId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("update claims set held = false where node = $1 and held")
            .bind(node.0)
            .execute(tx.conn())
            .await
            .during("leave")?;
        sqlx::query("delete from nodes where id = $1 or expires_at < now() - interval '1 day'")
            .bind(node.0)
            .execute(tx.conn())
            .await
            .during("leave")?;
        tx.commit().await
    }

    /// Live nodes, for `/status`.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn node_count(&self) -> Result<i64, StoreError> {
        sqlx::query("select count(*) from nodes where expires_at > now()")
            .fetch_one(self.pool())
            .await
            .and_then(|row| row.try_get(0))
            .during("count nodes")
    }
}
