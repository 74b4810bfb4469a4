//! An object store that fails under a deploy, and under the sweep of garbage.

use blobs::Blobs;
use bytes::Bytes;
use chrono::TimeDelta;

use super::contents::StoreFault;
use super::garbage::{delete, put};
use super::generated::Bench;
use super::kit::{ask, commit};
use super::scenarios::{Scenario, copying_host};
use super::writes::Death;
use crate::deploy::{Request, garbage_sweep};
use crate::testing::eventually;

// E08, I01. Goal: what a deploy reads of the store is what was put, or it waits; nothing else is ever run or built.
// Method: watch what a whole deploy reads, then spoil each read in every way; and break each write of a build.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_whose_contents_come_wrong_waits_until_they_come_right() {
    let folder = std::env::temp_dir().join(format!("run402-copying-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut bench = Bench::start_with(Some(copying_host(&folder))).await;
    bench.site.contents.asked();
    let writes = bench.writes_of(Scenario::Whole).await;
    let asked = bench.site.contents.asked();
    for role in ["get manifest", "get sql", "get source of a", "get source of f"] {
        assert!(asked.iter().any(|one| one == role), "{role}: {asked:?}");
    }
    for fault in StoreFault::OF_READS {
        for role in &asked {
            let plan = bench.plan(Scenario::Whole).await;
            bench.site.contents.break_at(Some((role, fault)));
            for request in [commit(), Request::Step] {
                let _ = ask(&bench.node, &plan, request).await;
                let status = bench.site.status(&plan).await;
                assert!(!status.is_terminal(), "{role} {fault:?}: {status:?}");
            }
            bench.site.contents.break_at(None);
            bench.end(Scenario::Whole, &plan).await;
        }
    }
    let builds: Vec<_> = writes.iter().filter(|write| write.key.starts_with("function_builds")).collect();
    assert!(!builds.is_empty(), "{writes:?}");
    for death in Death::ALL {
        for write in &builds {
            bench.killed_at(Scenario::Whole, write, death).await;
        }
    }
    // This builder copies: a build of other bytes would have another digest than its source.
    let wrong = "function_builds where encode(sha256(bundle), 'hex') <> code_hash";
    assert_eq!(bench.site.count(wrong).await, 0);
    assert!(bench.site.count("function_builds").await > 0);
    bench.node.stop().await;
    let _ = std::fs::remove_dir_all(&folder);
}

// E08, I01. Goal: a sweep that dies anywhere, or whose store refuses, leaves nothing held without its bytes, and is
// made good by the next one. Method: watch one sweep, break each of its writes and its deletion, and put the same
// bytes again: before the sweep is mended, and after.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_dies_anywhere_is_made_good_by_the_next() {
    let mut bench = Bench::start_with(None).await;
    let mut round = 0;
    let given_up = async |bench: &mut Bench, round: u32| -> (Bytes, String) {
        let bytes = Bytes::from(format!("garbage {round}"));
        let sha256 = put(&bench.site, &bytes).await;
        delete(&bench.site).await;
        let key = blobs::cas_key(&sha256);
        bench.site.contents.call_it(&key, "garbage");
        (bytes, key)
    };
    let (_, key) = given_up(&mut bench, round).await;
    bench.look().await;
    bench.site.contents.asked();
    bench.site.world.clock.advance(TimeDelta::hours(25));
    let gone = async |bench: &Bench, key: &str| {
        eventually(async || {
            let _ = garbage_sweep(&bench.node.deps).await; // The schedule may be faster than this test.
            bench.site.contents.head(key).await.unwrap().is_none()
        })
        .await
    };
    assert!(gone(&bench, &key).await);
    let writes: Vec<String> = bench.look().await.into_iter().map(|write| write.key).collect();
    let writes: Vec<&String> = writes.iter().filter(|key| key.starts_with("content_")).collect();
    assert!(writes.len() >= 2, "{writes:?}");
    assert!(bench.site.contents.asked().iter().any(|role| role == "delete garbage"));
    let deaths = Death::ALL.into_iter().filter(|death| *death != Death::Stalled);
    let writes = deaths.flat_map(|death| writes.iter().map(move |key| (Some((*key, death)), None)));
    let deletions = [StoreFault::Away, StoreFault::DoneButAway].map(|fault| (None, Some(fault)));
    for (write, store) in writes.chain(deletions) {
        for comes_back in [false, true] {
            round += 1;
            let (bytes, key) = given_up(&mut bench, round).await;
            if let Some((key, death)) = write {
                bench.control.break_at(key, death).await;
            }
            bench.site.contents.break_at(store.map(|fault| ("delete garbage", fault)));
            bench.site.world.clock.advance(TimeDelta::hours(25));
            let swept = garbage_sweep(&bench.node.deps).await;
            assert!(!matches!(swept, Ok(1..)), "{write:?} {store:?}: {swept:?}");
            let rows =
                format!("content_objects where sha256 = '{}'", key.replace("_cas/", "").replace('/', ""));
            assert_eq!(bench.site.count(&rows).await, 1, "{write:?} {store:?}: nothing was committed");
            bench.control.mend().await;
            bench.site.contents.break_at(None);
            if comes_back {
                put(&bench.site, &bytes).await;
                let _ = garbage_sweep(&bench.node.deps).await;
                let there = bench.site.contents.head(&key).await.unwrap();
                assert_eq!(there, Some(bytes.len() as u64), "{write:?} {store:?}: held, so it is there");
                delete(&bench.site).await;
                bench.site.world.clock.advance(TimeDelta::hours(25));
            }
            assert!(gone(&bench, &key).await, "{write:?} {store:?}");
            let mut left = 1;
            for _ in 0..100 {
                let _ = garbage_sweep(&bench.node.deps).await;
                left = bench.site.count(&rows).await;
                if left == 0 {
                    break;
                }
            }
            assert_eq!(left, 0, "{write:?} {store:?}: the row goes as well");
        }
    }
    bench.node.stop().await;
}
