//! What each verb of the pool does, and what a task's own failure costs.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::within_a_minute;
use multiproc_pool::{Pool, TaskErrorKind};
use multiproc_shm::{Kind, Object};
use multiproc_sync::Value;
use multiproc_wire::Bytes;
use serde::{Deserialize, Serialize};

fn square(n: u64) -> u64 {
    n * n
}

fn odd_fails(n: u32) -> u32 {
    assert!(n.is_multiple_of(2), "{n} is odd");
    n
}

fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[test]
fn map_keeps_the_order() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let squares = pool.map(square, 0..10_000).unwrap();
        assert!(squares.into_iter().eq((0..10_000).map(square)));
        assert_eq!(pool.map(square, []).unwrap(), []);
        assert_eq!(pool.map(square, [7]).unwrap(), [49]);
    });
}

#[test]
fn map_stays_in_order_when_tasks_differ() {
    within_a_minute(|| {
        let pool = Pool::new(3).unwrap();
        let naps: Vec<u64> = (0..40).map(|n| n * 7 % 5).collect();
        assert_eq!(pool.map(nap, naps.clone()).unwrap(), naps);
    });
}

#[test]
fn map_reports_the_failure_with_the_lowest_index() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let error = pool.map(odd_fails, [0, 2, 4, 5, 6, 7]).unwrap_err();
        assert_eq!(error.index(), 3);
        let TaskErrorKind::Panicked {
            message, location, ..
        } = error.kind()
        else {
            panic!("another kind: {error}");
        };
        assert_eq!(message, "5 is odd");
        assert!(
            location
                .as_ref()
                .is_some_and(|place| place.contains("verbs.rs")),
            "{error}"
        );
        assert_eq!(
            pool.map(odd_fails, [0, 2]).unwrap(),
            [0, 2],
            "the workers live on"
        );
    });
}

#[test]
fn map_stops_handing_out_after_a_failure() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let error = pool.map(odd_fails, 1..).unwrap_err();
        assert_eq!(error.index(), 0, "and the endless iterator was left");
    });
}

#[test]
fn map_each_answers_every_item() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let outcomes = pool.map_each(odd_fails, 0..60);
        assert_eq!(outcomes.len(), 60);
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert!(value == n && n % 2 == 0),
                Err(error) => assert!(error.is_panicked() && error.index() == n as usize),
            }
        }
    });
}

#[test]
fn tuples_are_several_arguments() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let pairs = (0..5).map(|n| (n, format!("{n}!")));
        let joined = pool
            .map(|(n, text): (u32, String)| format!("{n}{text}"), pairs)
            .unwrap();
        assert_eq!(joined, ["00!", "11!", "22!", "33!", "44!"]);
    });
}

#[test]
fn apply_waits_for_one() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        for n in 0..100 {
            assert_eq!(pool.apply(square, n).unwrap(), n * n);
        }
        assert_ne!(pool.call(std::process::id).unwrap(), std::process::id());
    });
}

#[test]
fn apply_async_can_be_asked_again_and_again() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let slow = pool.apply_async(nap, 200);
        assert!(!slow.is_ready());
        assert_eq!(slow.is_successful(), None);
        assert!(slow.try_get().unwrap_err().is_timed_out());
        assert!(!slow.wait(Duration::from_millis(1)));
        let begun = Instant::now();
        assert!(
            slow.get_timeout(Duration::from_millis(20))
                .unwrap_err()
                .is_timed_out()
        );
        assert!(begun.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(slow.get().unwrap(), 200));
            }
        });
        assert_eq!(slow.get().unwrap(), 200);
        assert_eq!(slow.is_successful(), Some(true));
        let failed = pool.apply_async(odd_fails, 3);
        assert!(failed.wait(Duration::from_secs(20)));
        assert_eq!(failed.is_successful(), Some(false));
        assert!(failed.get().unwrap_err().is_panicked());
        assert_eq!(failed.get().unwrap_err().index(), 0);
    });
}

#[test]
fn results_come_though_nobody_waits() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let results: Vec<_> = (0..20_000).map(|n| pool.apply_async(square, n)).collect();
        pool.close();
        pool.join().unwrap();
        for (n, result) in (0..).zip(results) {
            assert_eq!(result.try_get().unwrap(), n * n);
        }
    });
}

#[test]
fn map_async_is_one_result() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let later = pool.map_async(square, 0..1_000);
        let failing = pool.map_async(odd_fails, [0, 2, 3, 5]);
        for _ in 0..2 {
            assert!(later.get().unwrap().into_iter().eq((0..1_000).map(square)));
            assert_eq!(failing.get().unwrap_err().index(), 2);
        }
        assert_eq!(pool.map_async(square, []).get().unwrap(), []);
    });
}

#[test]
fn imap_gives_results_in_order() {
    within_a_minute(|| {
        let pool = Pool::new(3).unwrap();
        let naps: Vec<u64> = (0..60).map(|n| n * 7 % 4).collect();
        let results: Vec<u64> = pool.imap(nap, naps.clone()).map(Result::unwrap).collect();
        assert_eq!(results, naps);
        let results = pool.imap(odd_fails, 0..10).map(|result| result.is_ok());
        assert!(
            results.eq((0..10).map(|n| n % 2 == 0)),
            "failures keep their place"
        );
    });
}

#[test]
fn imap_unordered_gives_each_once() {
    within_a_minute(|| {
        let pool = Pool::new(3).unwrap();
        for chunk in [0, 1, 7, 1_000] {
            let results = pool.imap_unordered(square, 0..10_000).chunk_size(chunk);
            let results: HashSet<u64> = results.map(Result::unwrap).collect();
            assert_eq!(results, (0..10_000).map(square).collect());
        }
    });
}

#[test]
fn a_quick_result_does_not_wait_for_a_slow_one() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let mut results = pool.imap_unordered(nap, [2_000, 0, 0, 0]);
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(results.next().unwrap().unwrap(), 0);
        }
        assert!(begun.elapsed() < Duration::from_millis(1_500));
        assert_eq!(results.next().unwrap().unwrap(), 2_000);
        assert!(results.next().is_none() && results.next().is_none());
    });
}

#[test]
fn an_endless_iterator_is_not_read_ahead_without_bound() {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let items = (0..).inspect(|_| {
            TAKEN.fetch_add(1, Ordering::Relaxed);
        });
        let mut results = pool.imap(square, items).buffer(10);
        for n in 0..1_000 {
            assert_eq!(results.next().unwrap().unwrap(), n * n);
            assert!(u64::from(TAKEN.load(Ordering::Relaxed)) <= n + 1 + 10);
        }
    });
}

#[test]
fn ten_thousand_tasks_one_by_one() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let results = pool.imap(square, 0..10_000).chunk_size(1);
        assert!(results.map(Result::unwrap).eq((0..10_000).map(square)));
    });
}

#[test]
fn large_values_go_both_ways() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let sizes = [
            0,
            1,
            8 << 10,
            (64 << 10) - 1,
            64 << 10,
            (64 << 10) + 1,
            1 << 20,
        ];
        let blocks = sizes
            .iter()
            .cycle()
            .take(50)
            .map(|&size| Bytes::from(vec![7; size]));
        let back = pool.map(|block: Bytes| block, blocks).unwrap();
        assert!(
            back.iter()
                .map(|block| block.len())
                .eq(sizes.iter().cycle().take(50).copied())
        );
        assert!(back.iter().all(|block| block.iter().all(|&byte| byte == 7)));
        let lone = pool
            .apply(|block: Vec<u8>| block, vec![9; 40 << 20])
            .unwrap();
        assert!(lone.len() == 40 << 20 && lone.iter().all(|&byte| byte == 9));
    });
}

#[test]
fn handles_travel_inside_items_and_results() {
    #[derive(Serialize, Deserialize)]
    struct Count {
        shared: Object,
        by: u64,
    }
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let shared = Object::create(Kind::Plain, 1, 64, |_| ()).unwrap();
        let counts = (1..=100).map(|by| Count {
            shared: shared.clone(),
            by,
        });
        let back = pool.map(
            |count: Count| {
                count.shared.words()[0].fetch_add(count.by, Ordering::Relaxed);
                count
            },
            counts,
        );
        assert!(back.unwrap().iter().all(|count| count.shared.is(&shared)));
        assert_eq!(shared.words()[0].load(Ordering::Relaxed), 5_050);
    });
}

#[test]
fn a_lock_of_the_family_protects_what_workers_share() {
    within_a_minute(|| {
        let pool = Pool::new(3).unwrap();
        let count = Value::new(0_u64).unwrap();
        let add = |(count, by): (Value<u64>, u64)| count.update(|now| *now += by);
        pool.map(add, (1..=1_000).map(|by| (count.clone(), by)))
            .unwrap();
        assert_eq!(count.get(), 500_500);
    });
}

#[test]
fn what_was_begun_before_close_gets_through() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let mut results = pool.imap(square, 0..20_000);
        assert_eq!(results.next().unwrap().unwrap(), 0);
        pool.close();
        let begun = pool.join_timeout(Duration::from_millis(10));
        assert!(begun.unwrap_err().is_timed_out());
        assert!(results.map(Result::unwrap).eq((1..20_000).map(square)));
        pool.join().unwrap();
        let pool = Pool::new(2).unwrap();
        let mut results = pool.imap_unordered(square, 0..);
        assert_eq!(
            results.by_ref().take(100).filter(Result::is_ok).count(),
            100
        );
        pool.close();
        drop(results);
        pool.join().unwrap();
    });
}

#[test]
fn many_threads_share_a_pool() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..20 {
                        let from = thread * 1_000 + round;
                        let squares = pool.map(square, from..from + 200).unwrap();
                        assert!(squares.into_iter().eq((from..from + 200).map(square)));
                        assert_eq!(pool.apply(square, from).unwrap(), from * from);
                    }
                });
            }
        });
    });
}

#[test]
fn a_worker_can_have_a_pool_of_its_own() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let sum = pool.apply(
            |n: u64| {
                Pool::new(2)
                    .unwrap()
                    .map(square, 0..n)
                    .unwrap()
                    .iter()
                    .sum::<u64>()
            },
            10,
        );
        assert_eq!(sum.unwrap(), 285);
    });
}

#[derive(Serialize, Deserialize, Debug)]
struct WontEncode(#[serde(serialize_with = "refuse")] u8);

fn refuse<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("it does not travel"))
}

#[derive(Serialize, Deserialize, Debug)]
struct WontDecode(#[serde(deserialize_with = "reject")] u8);

fn reject<'de, D: serde::Deserializer<'de>>(_: D) -> Result<u8, D::Error> {
    Err(serde::de::Error::custom("it does not arrive"))
}

#[test]
fn fault_39_what_cannot_be_encoded_is_an_error_of_its_item() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let pid = pool.worker_pids();
        let error = pool.apply(|_: WontEncode| (), WontEncode(1)).unwrap_err();
        assert!(
            error.is_encode() && error.to_string().contains("it does not travel"),
            "{error}"
        );
        for _ in 0..5 {
            let error = pool.apply(WontEncode, 1).unwrap_err();
            assert!(error.is_encode(), "{error}");
            assert!(error.to_string().contains("it does not travel"), "{error}");
        }
        let items = [Ok(1), Err(WontEncode(2)), Ok(3)];
        let outcomes = pool.map_each(|item: Result<u8, WontEncode>| item.is_ok(), items);
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
        assert!(
            outcomes[1]
                .as_ref()
                .is_err_and(|error| error.is_encode() && error.index() == 1)
        );
        assert_eq!(pool.worker_pids(), pid, "the worker lives");
    });
}

#[test]
fn fault_40_what_cannot_be_decoded_is_an_error_of_its_item() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let pid = pool.worker_pids();
        for _ in 0..5 {
            let error = pool.apply(|_: WontDecode| (), WontDecode(1)).unwrap_err();
            assert!(
                error.is_decode() && error.to_string().contains("WontDecode"),
                "{error}"
            );
            let error = pool.apply(WontDecode, 1).unwrap_err();
            assert!(
                error.is_decode() && error.to_string().contains("WontDecode"),
                "{error}"
            );
        }
        assert_eq!(pool.worker_pids(), pid, "the worker lives");
    });
}
