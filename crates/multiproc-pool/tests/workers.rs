//! What workers keep, how they are prepared, and when they retire.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::time::{Duration, Instant};

use common::{alive, eventually, kill, kill_me, times, within_a_minute};
use multiproc_pool::{BuildError, Pool, TaskErrorKind, ThreadPool};
use multiproc_process::StartMethod;
use multiproc_sync::Value;
use multiproc_wire::TaskFailure;

struct Counter {
    step: u64,
    total: u64,
    dropped: Option<Value<u32>>,
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.update(|n| *n += 1);
        }
    }
}

fn counter((step, dropped): (u64, Option<Value<u32>>)) -> Counter {
    Counter {
        step,
        total: 0,
        dropped,
    }
}

fn count(counter: &mut Counter, times: u64) -> u64 {
    counter.total += counter.step * times;
    counter.total
}

fn value() -> Value<u32> {
    Value::new(0).unwrap()
}

#[test]
fn a_state_stays_with_its_worker() {
    within_a_minute(|| {
        let build = Pool::builder().workers(1).state(counter, (10, None));
        let pool = build.build().unwrap();
        assert_eq!(pool.apply_with(count, 1).unwrap(), 10);
        assert_eq!(pool.apply_async_with(count, 2).get().unwrap(), 30);
        assert_eq!(pool.map_with(count, [1, 1]).unwrap(), [40, 50]);
        assert_eq!(pool.map_each_with(count, [1])[0].as_ref().unwrap(), &60);
        assert_eq!(pool.map_async_with(count, [1]).get().unwrap(), [70]);
        let rest: Vec<u64> = pool.imap_with(count, [1]).map(Result::unwrap).collect();
        assert_eq!(rest, [80]);
        let last = pool.imap_unordered_with(count, [1]).next().unwrap();
        assert_eq!(last.unwrap(), 90);
        assert_eq!(pool.map(|n: u8| n, [1]).unwrap(), [1], "others as well");
        let panics = |counter: &mut Counter, ()| -> u64 {
            counter.total = 0;
            panic!("on the way")
        };
        assert!(pool.apply_with(panics, ()).unwrap_err().is_panicked());
        assert_eq!(pool.apply_with(count, 1).unwrap(), 10);
    });
}

#[test]
fn threads_keep_a_state_each() {
    within_a_minute(|| {
        let build = ThreadPool::builder().workers(3).state(counter, (1, None));
        let pool = build.build().unwrap();
        let totals = pool.map_with(count, vec![1; 300]).unwrap();
        assert!(totals.iter().max().unwrap() <= &300 && totals.len() == 300);
    });
}

#[test]
fn a_new_worker_makes_its_own_state() {
    within_a_minute(|| {
        let build = Pool::builder().workers(1).state(counter, (1, None));
        let pool = build.build().unwrap();
        assert_eq!(pool.apply_with(count, 5).unwrap(), 5);
        kill(pool.worker_pids()[0]);
        eventually("a fresh state", || {
            pool.apply_with(count, 1).is_ok_and(|n| n == 1)
        });
    });
}

#[test]
fn a_state_is_dropped_when_its_worker_leaves() {
    within_a_minute(|| {
        let dropped = value();
        let build = Pool::builder().workers(2);
        let build = build.state(counter, (1, Some(dropped.clone())));
        let pool = build.build().unwrap();
        pool.map_with(count, 0..10).unwrap();
        pool.close();
        pool.join().unwrap();
        assert_eq!(dropped.get(), 2);
    });
}

#[test]
fn a_worker_retires_after_so_many_tasks() {
    within_a_minute(|| {
        let dropped = value();
        let build = Pool::builder().workers(2).max_tasks_per_worker(5);
        let build = build.state(counter, (1, Some(dropped.clone())));
        let pool = build.build().unwrap();
        let one = |counter: &mut Counter, ()| {
            counter.total += 1;
            (std::process::id(), counter.total)
        };
        let mut seen = std::collections::HashMap::<u32, u64>::new();
        // In one chunk: what is left of it goes to the next worker.
        for outcome in pool.imap_with(one, vec![(); 100]).chunk_size(100) {
            let (pid, total) = outcome.unwrap();
            *seen.entry(pid).or_default() += 1;
            assert_eq!(seen[&pid], total);
        }
        assert!(seen.values().all(|tasks| *tasks <= 5), "{seen:?}");
        eventually("each was dropped", || dropped.get() as usize >= 20);
        let stats = pool.stats();
        assert!(stats.workers.iter().map(|it| it.restarts).sum::<u32>() >= 19);
    });
}

#[test]
fn fault_10_a_worker_over_its_budget_retires_after_its_task() {
    within_a_minute(|| {
        let build = Pool::builder().workers(1).memory_limit(64 << 20);
        let pool = build.state(|()| Vec::<Vec<u8>>::new(), ()).build().unwrap();
        let leak = |kept: &mut Vec<Vec<u8>>, megabytes: usize| {
            kept.push(vec![1; megabytes << 20]);
            std::process::id()
        };
        let pids = pool.map_with(leak, vec![8; 40]).unwrap();
        let mut workers = pids.clone();
        workers.dedup();
        println!("{} workers for {} tasks", workers.len(), pids.len());
        assert!(workers.len() >= 4, "each leaks 8 MiB a task: {pids:?}");
    });
}

#[test]
fn an_initializer_runs_before_the_first_task() {
    within_a_minute(|| {
        let (runs, argument) = (value(), value());
        let build = Pool::builder().workers(2);
        let init = |(runs, argument): (Value<u32>, Value<u32>)| {
            runs.update(|n| *n += 1);
            argument.set(7);
        };
        let build = build.initializer(init, (runs.clone(), argument.clone()));
        let pool = build.build().unwrap();
        assert_eq!(pool.apply(|it: Value<u32>| it.get(), argument).unwrap(), 7);
        eventually("both have run it", || runs.get() == 2);
        let build = ThreadPool::builder().workers(1);
        let pool = build.try_initializer(fails, 3).build().unwrap();
        assert!(pool.call(|| ()).unwrap_err().to_string().contains("no 3"));
    });
}

fn fails(n: u32) -> Result<(), String> {
    Err(format!("there is no {n}"))
}

/// Builds a pool that cannot come up, and says with what its tasks end and how often it tried.
fn broken(build: impl FnOnce(Value<u32>) -> Pool) -> (String, u32) {
    let starts = value();
    let pool = build(starts.clone());
    let results: Vec<_> = (0..50).map(|n| pool.apply_async(|n: u8| n, n)).collect();
    let begun = Instant::now();
    for result in results {
        let error = result.get().unwrap_err();
        assert!(
            matches!(error.kind(), TaskErrorKind::Broken { .. }),
            "{error}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    let error = pool.apply(|n: u8| n, 1).unwrap_err();
    assert!(error.is_broken());
    assert!(pool.join().unwrap_err().is_broken());
    assert_eq!(alive(&pool.worker_pids()), []);
    (error.to_string(), starts.get())
}

#[test]
fn fault_18_an_initializer_that_fails_breaks_the_pool() {
    within_a_minute(|| {
        for workers in [1, 2, 4] {
            for _ in 0..times(2, 5) {
                let (why, starts) = broken(|starts| {
                    let init = |starts: Value<u32>| -> () {
                        starts.update(|n| *n += 1);
                        panic!("no model here")
                    };
                    let build = Pool::builder().workers(workers);
                    build.initializer(init, starts).build().unwrap()
                });
                assert!(
                    why.contains("no model here") && why.contains("workers.rs"),
                    "{why}"
                );
                assert!((3..=8).contains(&starts), "{starts} starts");
            }
        }
    });
}

#[test]
fn fault_18_a_state_that_fails_or_kills_breaks_the_pool() {
    within_a_minute(|| {
        let (why, _) = broken(|starts| {
            let state = |starts: Value<u32>| -> Result<u32, TaskFailure> {
                starts.update(|n| *n += 1);
                Ok("x".parse()?)
            };
            let pool = Pool::builder()
                .workers(2)
                .try_state(state, starts)
                .build()
                .unwrap();
            // The state is of no interest here.
            let _: &multiproc_pool::PoolHandle<u32> = &pool;
            drop(pool);
            let fails = |_: Value<u32>| Err::<(), _>("invalid digit");
            Pool::builder()
                .workers(2)
                .try_initializer(fails, value())
                .build()
                .unwrap()
        });
        assert!(why.contains("invalid digit"), "{why}");
        let (why, starts) = broken(|starts| {
            let dies = |starts: Value<u32>| -> () {
                starts.update(|n| *n += 1);
                kill_me()
            };
            Pool::builder()
                .workers(1)
                .initializer(dies, starts)
                .build()
                .unwrap()
        });
        assert!(why.contains("SIGKILL"), "{why}");
        assert!((3..=8).contains(&starts), "{starts} starts");
    });
}

#[test]
fn fault_19_an_initializer_that_hangs_fails_at_its_own_limit() {
    within_a_minute(|| {
        for _ in 0..3 {
            let begun = Instant::now();
            let (why, starts) = broken(|starts| {
                let hangs = |starts: Value<u32>| {
                    starts.update(|n| *n += 1);
                    std::thread::sleep(Duration::from_secs(600));
                };
                let build = Pool::builder().workers(2).initializer(hangs, starts);
                build
                    .start_timeout(Duration::from_millis(300))
                    .build()
                    .unwrap()
            });
            assert!(why.contains("300ms"), "{why}");
            assert!(starts <= 8, "{starts} starts");
            assert!(begun.elapsed() >= Duration::from_millis(300));
        }
    });
}

#[test]
fn what_cannot_prepare_a_worker_is_said_at_once() {
    struct Never;
    impl serde::Serialize for Never {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it stays here"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Never {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Never, D::Error> {
            Ok(Never)
        }
    }
    let error = Pool::builder()
        .initializer(|_| (), Never)
        .build()
        .unwrap_err();
    assert!(
        error.is_encode() && error.to_string().contains("it stays here"),
        "{error}"
    );
}

#[test]
fn workers_are_spawned_on_demand_and_never_forked() {
    within_a_minute(|| {
        let build = Pool::builder().workers(1).start_method(StartMethod::Spawn);
        assert_eq!(build.build().unwrap().apply(|n: u8| n, 5).unwrap(), 5);
        let build = Pool::builder().start_method(StartMethod::Fork);
        let error = build.build().unwrap_err();
        assert!(matches!(error, BuildError::Fork), "{error}");
    });
}
