//! Where the watcher stands against the chain as it is now.

use chain::rpc::{BlockAt, ChainRpc, Head};
use store::sightings::{BlockRow, Cursor};

use crate::kit::ActorError;
use crate::wallet::chain_error;

/// What to do about the chain's present head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is new, or the node lags behind what we have seen.
    Level,
    /// Scan from `next_block` on.
    Ahead,
    /// The chain forked: everything above `ancestor` is gone, scan from there.
    Forked {
        ancestor: i64,
    },
    Halt {
        reason: String,
    },
}

/// Compares the stored blocks (newest first, as far back as they are retained) with the chain.
pub(super) async fn locate(
    rpc: &dyn ChainRpc,
    cursor: &Cursor,
    known: &[BlockRow],
    head: &Head,
) -> Result<Place, ActorError> {
    let Some(top) = known.first() else {
        let ahead = signed(head.number) >= cursor.next_block;
        return Ok(if ahead { Place::Ahead } else { Place::Level });
    };
    let head_number = signed(head.number);
    if head_number > top.number {
        let next = block(rpc, top.number + 1).await?;
        return match next {
            Some(next) if next.parent_hash == top.hash => Ok(Place::Ahead),
            // The node changed its mind between two questions: the next tick asks again.
            None => Ok(Place::Level),
            Some(_) => fork(rpc, known).await,
        };
    }
    match known.iter().find(|b| b.number == head_number) {
        Some(same) if same.hash == head.hash => {
            if head_number < top.number {
                tracing::warn!(
                    head = head_number,
                    seen = top.number,
                    "the node lags behind what was scanned"
                );
            }
            Ok(Place::Level)
        }
        Some(_) => fork(rpc, known).await,
        None => Ok(Place::Halt {
            reason: format!(
                "the chain ends at block {head_number}, but block {} was scanned: it has lost its history",
                top.number
            ),
        }),
    }
}

/// The newest stored block that is still on the chain. Those below it are too, so it can be searched by
/// halves.
async fn fork(rpc: &dyn ChainRpc, known: &[BlockRow]) -> Result<Place, ActorError> {
    let (mut low, mut high) = (0, known.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let stored = &known[middle];
        let on_chain = block(rpc, stored.number).await?.is_some_and(|b| b.hash == stored.hash);
        if on_chain { high = middle } else { low = middle + 1 }
    }
    Ok(match known.get(low) {
        Some(ancestor) => Place::Forked { ancestor: ancestor.number },
        None => Place::Halt {
            reason: format!(
                "a reorganisation goes below block {}, the oldest that is retained",
                known.last().map_or(0, |b| b.number)
            ),
        },
    })
}

async fn block(rpc: &dyn ChainRpc, number: i64) -> Result<Option<Head>, ActorError> {
    let number = u64::try_from(number).unwrap_or(0);
    rpc.block_at(BlockAt::Number(number)).await.map_err(|e| chain_error("read a block", e))
}

/// Block numbers are far below 2^63; one that is not is beyond every head.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
