//! Counts API calls in memory and hands them to the database window by window.
//!
//! A window that was closed keeps its number and its content until the database has acknowledged it, so a flush
//! whose outcome is unknown is simply repeated. A crash loses the calls of the window at hand, and counts none
//! twice. One window is a few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use store::calls::Window;
use types::{AccountId, Entropy, ProjectId};
use uuid::Uuid;

/// The counters of one run of one server.
#[derive(Debug)]
pub struct Meter {
    process: Uuid,
    counting: Mutex<Counting>,
}

#[derive(Debug, Default)]
struct Counting {
    open: HashMap<ProjectId, (AccountId, i64)>,
    /// On its way to the database.
    closed: Option<Window>,
    /// Calls per account that the database does not have yet: of both windows.
    unflushed: HashMap<AccountId, i64>,
    /// The number of the next window, which is also how many were acknowledged or are on their way.
    next: i64,
    /// Rises with each acknowledged window: what was read from the database before is older than it.
    acknowledged: i64,
}

impl Meter {
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self { process: entropy.uuid(), counting: Mutex::default() }
    }

    /// Counts one call.
    pub fn count(&self, account: AccountId, project: ProjectId) {
        let mut counting = self.counting();
        counting.open.entry(project).or_insert((account, 0)).1 += 1;
        *counting.unflushed.entry(account).or_default() += 1;
    }

    /// Calls of an account that the database does not have yet, as far as this server knows, and how many
    /// windows it has acknowledged.
    pub fn unflushed(&self, account: AccountId) -> (i64, i64) {
        let counting = self.counting();
        (counting.unflushed.get(&account).copied().unwrap_or_default(), counting.acknowledged)
    }

    /// The window to flush: the one that was not acknowledged, else what was counted since. None when nothing
    /// was.
    pub fn close(&self) -> Option<Window> {
        let mut counting = self.counting();
        if counting.closed.is_none() && !counting.open.is_empty() {
            let open = std::mem::take(&mut counting.open);
            let calls =
                open.into_iter().map(|(project, (account, calls))| (project, account, calls)).collect();
            counting.closed = Some(Window { process: self.process, number: counting.next, calls });
            counting.next += 1;
        }
        counting.closed.clone()
    }

    /// The database has the window of this number. Saying so twice changes nothing.
    pub fn acknowledge(&self, number: i64) {
        let mut counting = self.counting();
        let Some(window) = counting.closed.take_if(|window| window.number == number) else { return };
        for (_, account, calls) in window.calls {
            let left = counting.unflushed.get(&account).copied().unwrap_or_default() - calls;
            match left {
                1.. => drop(counting.unflushed.insert(account, left)),
                _ => drop(counting.unflushed.remove(&account)),
            }
        }
        counting.acknowledged += 1;
    }

    fn counting(&self) -> MutexGuard<'_, Counting> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use store::calls::calls_flush;
    use types::OsEntropy;

    #[test]
    fn a_window_keeps_its_content_until_it_is_acknowledged() {
        let meter = Meter::new(&OsEntropy);
        let (account, project) = (AccountId::new(&OsEntropy), ProjectId::new(&OsEntropy));
        assert_eq!(meter.close(), None);
        meter.count(account, project);
        let first = meter.close().unwrap();
        meter.count(account, project);
        assert_eq!(meter.close().as_ref(), Some(&first), "repeated as it was");
        assert_eq!(meter.unflushed(account), (2, 0));
        meter.acknowledge(first.number + 1);
        assert_eq!(meter.unflushed(account), (2, 0), "another window's number says nothing");
        meter.acknowledge(first.number);
        meter.acknowledge(first.number);
        assert_eq!(meter.unflushed(account), (1, 1));
        let second = meter.close().unwrap();
        assert_eq!(
            (second.number, second.calls.as_slice()),
            (first.number + 1, &[(project, account, 1)][..])
        );
    }

    // Goal: a flush that is repeated, at once or by two tasks, counts once; two servers' windows add up; a
    // reset starts from zero. Method: the same windows many times, side by side.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_repeated_flush_counts_once_and_windows_of_several_servers_add_up() {
        let world = World::start().await;
        let account = store::accounts::account_of_wallet_ensure(
            &world.store,
            types::Wallet([1; 20]),
            AccountId::new(&OsEntropy),
            world.now(),
        );
        let account = account.await.unwrap();
        let mut projects = Vec::new();
        for n in 0..3 {
            let id = ProjectId::new(&OsEntropy);
            let public_id = format!("meter{n}x");
            let new = store::projects::NewProject { id, account, name: "app".to_owned(), public_id };
            let mut tx = world.store.begin().await.unwrap();
            store::projects::project_insert(&mut tx, &new, world.now()).await.unwrap();
            tx.commit().await.unwrap();
            projects.push(id);
        }
        let meters: Vec<Meter> = (0..4).map(|_| Meter::new(&OsEntropy)).collect();
        for meter in &meters {
            for n in 0..30 {
                meter.count(account, projects[n % 3]);
            }
        }
        let windows: Vec<Window> = meters.iter().map(|meter| meter.close().unwrap()).collect();
        let flushes = (0..5).flat_map(|_| windows.iter().map(|window| calls_flush(&world.store, window)));
        for flushed in futures::future::join_all(flushes).await {
            flushed.unwrap();
        }
        let usage = store::accounts::account_usage(&world.store, account).await.unwrap();
        assert_eq!(usage.api_calls, 4 * 30);
        for project in projects {
            assert_eq!(store::projects::usage_fetch(&world.store, project).await.unwrap().api_calls, 40);
        }
        world.stop().await;
    }
}
