//! Reads by key that come together are one query.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::StoreError;

/// Queries at once. More would be smaller ones; with one alone everybody would wait for a connection that is lost.
const TURNS: usize = 2;

/// Reads that wait. Whoever has a turn asks for all that came before it, so what a caller is told was read after it
/// asked: nothing is older than a read of its own.
pub struct Gather<K, V> {
    waiting: Mutex<Vec<Waiting<K, V>>>,
    turns: Semaphore,
}

struct Waiting<K, V> {
    key: K,
    tell: oneshot::Sender<Option<V>>,
}

impl<K, V> Default for Gather<K, V> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turns: Semaphore::new(TURNS) }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Gather<K, V> {
    /// What `load` finds under the key, asked together with others. `load` is given each key once.
    ///
    /// # Errors
    /// Those of `load`. Whoever waited for another's turn that failed, or was cut off, asks by itself.
    pub async fn read<F>(
        &self,
        key: K,
        load: impl Fn(Vec<K>) -> F + Send + Sync,
    ) -> Result<Option<V>, StoreError>
    where
        F: Future<Output = Result<HashMap<K, V>, StoreError>> + Send,
    {
        let (tell, mut told) = oneshot::channel();
        self.waiting().push(Waiting { key, tell });
        let answer = tokio::select! {
            biased;
            answer = &mut told => answer,
            _turn = self.turns.acquire() => {
                self.turn(&load).await?;
                told.await
            }
        };
        match answer {
            Ok(found) => Ok(found),
            Err(_) => Ok(load(vec![key]).await?.remove(&key)),
        }
    }

    /// Reads for all that wait now. Its own caller is among them, unless another turn has taken it.
    async fn turn<F>(&self, load: &(impl Fn(Vec<K>) -> F + Send + Sync)) -> Result<(), StoreError>
    where
        F: Future<Output = Result<HashMap<K, V>, StoreError>> + Send,
    {
        let group = std::mem::take(&mut *self.waiting());
        // Nobody reads for a caller that is gone.
        let keys: HashSet<K> = group.iter().filter(|one| !one.tell.is_closed()).map(|one| one.key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let found = load(keys.into_iter().collect()).await?;
        for one in group {
            let _ = one.tell.send(found.get(&one.key).cloned());
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<K, V>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::task::JoinHandle;

    use super::*;

    type Read = JoinHandle<Result<Option<u32>, StoreError>>;

    /// The keys asked for, and whom to tell whether it works.
    type Query = (Vec<u32>, Option<oneshot::Sender<bool>>);

    /// A table of the keys below 100, each of whose queries is answered when the test says so.
    #[derive(Default)]
    struct Table {
        gather: Gather<u32, u32>,
        added: AtomicU32,
        queries: Mutex<Vec<Query>>,
    }

    impl Table {
        fn read(self: &Arc<Self>, key: u32) -> Read {
            let table = self.clone();
            tokio::spawn(async move { table.gather.read(key, |keys| table.query(keys)).await })
        }

        async fn query(&self, mut keys: Vec<u32>) -> Result<HashMap<u32, u32>, StoreError> {
            let added = self.added.load(Ordering::SeqCst);
            keys.sort_unstable();
            let (answer, answered) = oneshot::channel();
            self.queries.lock().unwrap().push((keys.clone(), Some(answer)));
            if !answered.await.unwrap() {
                return Err(StoreError::NotFound("a table"));
            }
            Ok(keys.into_iter().filter(|key| *key < 100).map(|key| (key, key + added)).collect())
        }

        /// All queries so far, once everybody who could go on did.
        async fn queries(&self) -> Vec<Vec<u32>> {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            self.queries.lock().unwrap().iter().map(|(keys, _)| keys.clone()).collect()
        }

        fn answer(&self, query: usize, works: bool) {
            self.queries.lock().unwrap()[query].1.take().unwrap().send(works).unwrap();
        }

        /// Both turns, taken.
        async fn busy(self: &Arc<Self>) -> [Read; 2] {
            let first = self.read(1);
            assert_eq!(self.queries().await, [[1]]);
            let second = self.read(2);
            assert_eq!(self.queries().await, [[1], [2]]);
            [first, second]
        }
    }

    // Goal: what comes while the turns are taken is one query of each key once, and sees what was written before it
    // was asked for, however old the queries before it are.
    #[tokio::test]
    async fn reads_that_come_together_are_one_query_and_none_is_older_than_its_caller() {
        let table = Arc::new(Table::default());
        let [first, second] = table.busy().await;
        table.added.store(1_000, Ordering::SeqCst);
        let late = [3, 4, 3, 200, 1].map(|key| table.read(key));
        assert_eq!(table.queries().await.len(), 2);
        table.answer(0, true);
        assert_eq!(table.queries().await[2..], [[1, 3, 4, 200]]);
        assert_eq!(first.await.unwrap().unwrap(), Some(1));
        table.answer(2, true);
        let mut found = Vec::new();
        for one in late {
            found.push(one.await.unwrap().unwrap());
        }
        assert_eq!(found, [Some(1_003), Some(1_004), Some(1_003), None, Some(1_001)]);
        table.answer(1, true);
        assert_eq!(second.await.unwrap().unwrap(), Some(2));
        assert_eq!(table.queries().await.len(), 3);
    }

    // Goal: a query that fails, and a caller that is cut off while it asks for others, are nobody else's error.
    #[tokio::test]
    async fn a_turn_that_fails_or_is_cut_off_leaves_the_others_to_themselves() {
        for is_cut_off in [false, true] {
            let table = Arc::new(Table::default());
            let busy = table.busy().await;
            let leader = table.read(3);
            let others = [4, 5].map(|key| table.read(key));
            table.queries().await;
            table.answer(0, true);
            assert_eq!(table.queries().await[2..], [[3, 4, 5]]);
            if is_cut_off {
                leader.abort()
            } else {
                table.answer(2, false)
            }
            assert_eq!(table.queries().await[3..], [[4], [5]], "{is_cut_off}");
            table.answer(4, true);
            table.answer(3, true);
            for (other, key) in others.into_iter().zip([4, 5]) {
                assert_eq!(other.await.unwrap().unwrap(), Some(key), "{is_cut_off}");
            }
            assert!(!leader.await.is_ok_and(|found| found.is_ok()), "{is_cut_off}");
            drop(busy);
        }
    }

    // Goal: nobody reads for callers that have gone.
    #[tokio::test]
    async fn callers_that_left_are_not_asked_for() {
        let table = Arc::new(Table::default());
        let _busy = table.busy().await;
        let gone = table.read(3);
        let waits = table.read(4);
        table.queries().await;
        gone.abort();
        table.queries().await;
        table.answer(0, true);
        assert_eq!(table.queries().await[2..], [[4]]);
        table.answer(2, true);
        assert_eq!(waits.await.unwrap().unwrap(), Some(4));
    }
}
