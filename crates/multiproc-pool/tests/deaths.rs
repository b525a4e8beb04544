//! What a death costs: one item at most, and never an answer too few or too many.

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Chance, alive, chaos, eventually, kill, kill_me, times, within_a_minute};
use multiproc_pool::{Pool, TaskError, TaskErrorKind};
use multiproc_shm::{Kind, Object};

/// Counts how often each item was run, in memory that outlives the runner; behind that, who ran any.
fn ledger(items: usize) -> Object {
    Object::create(Kind::Plain, 1, (items + RUNNERS) * 8, |_| ()).unwrap()
}

/// Places for the processes that ran items, by pid.
const RUNNERS: usize = 64;

/// Where `pid` is noted.
fn runner(ledger: &Object, pid: u32) -> &AtomicU64 {
    let words = ledger.words();
    &words[words.len() - 1 - pid as usize % RUNNERS]
}

/// Marks the item as run, and takes about `spins` nanoseconds.
fn mark((ledger, item, spins): (Object, u64, u64)) -> u64 {
    ledger.words()[item as usize].fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    runner(&ledger, pid).store(pid.into(), Ordering::Relaxed);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_nanos(spins) {
        std::hint::spin_loop();
    }
    item * 3
}

/// Each item has one answer, and was run once if that is a value, once at most if not. How many were
/// lost.
fn check(ledger: &Object, outcomes: &[Result<u64, TaskError>], items: usize) -> usize {
    assert_eq!(outcomes.len(), items);
    let mut lost = 0;
    for (item, outcome) in outcomes.iter().enumerate() {
        let runs = ledger.words()[item].load(Ordering::Relaxed);
        match outcome {
            Ok(value) => assert!(
                *value == item as u64 * 3 && runs == 1,
                "{item} ran {runs} times"
            ),
            Err(error) => {
                assert!(error.is_worker_lost() && error.index() == item, "{error}");
                assert!(runs <= 1, "{item} was lost and ran {runs} times");
                lost += 1;
            }
        }
    }
    lost
}

/// Runs `work` while a thread kills a random worker each time `pause` is over; how many it killed.
///
/// Mostly workers that have worked, and others only beside one: on a busy machine nobody would ever
/// come up, and the pool would rightly be broken.
fn while_killing(
    pool: &Pool,
    ledger: &Object,
    chance: &mut Chance,
    pause: u64,
    work: impl FnOnce(),
) -> u32 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut kills = 0;
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(chance.below(pause)));
                let has_worked =
                    |pid: &&u32| runner(ledger, **pid).load(Ordering::Relaxed) == u64::from(**pid);
                let all = pool.worker_pids();
                let worked: Vec<u32> = all.iter().filter(has_worked).copied().collect();
                if !worked.is_empty() {
                    let among = if chance.below(8) == 0 { all } else { worked };
                    kill(among[chance.below(among.len() as u64) as usize]);
                    kills += 1;
                }
            }
            kills
        });
        work();
        over.store(true, Ordering::Relaxed);
        killer.join().unwrap()
    })
}

fn random_kills(seed: u64, items: usize, spins: u64, imap: Option<usize>) {
    let mut chance = Chance::new(seed);
    let pool = Pool::new(3).unwrap();
    let (mut kills, mut lost) = (0, 0);
    let wanted = 70 * chaos();
    while kills < wanted {
        let ledger = ledger(items);
        let work = (0..items as u64).map(|item| (ledger.clone(), item, spins));
        let mut outcomes = Vec::new();
        kills += while_killing(&pool, &ledger, &mut chance, 20_000, || match imap {
            None => outcomes = pool.map_each(mark, work),
            Some(chunk) => outcomes = pool.imap(mark, work).chunk_size(chunk).collect(),
        });
        lost += check(&ledger, &outcomes, items);
    }
    println!("{kills} kills, {lost} items lost");
    assert!(lost <= kills as usize, "a death costs one item at most");
}

#[test]
fn fault_01_random_kills_during_map() {
    within_a_minute(|| random_kills(1, 20_000, 2_000, None));
}

#[test]
fn fault_01_random_kills_one_by_one() {
    within_a_minute(|| random_kills(2, 5_000, 5_000, Some(1)));
}

#[test]
fn fault_01_random_kills_in_large_chunks() {
    within_a_minute(|| random_kills(3, 20_000, 1_000, Some(1_000)));
}

#[test]
fn fault_01_the_lost_task_says_who_and_why() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let pids = pool.worker_pids();
        let begun = Instant::now();
        let error = pool.apply(|()| -> () { kill_me() }, ()).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(2));
        let TaskErrorKind::WorkerLost { pid, signal, .. } = error.kind() else {
            panic!("another kind: {error}");
        };
        assert_eq!((vec![*pid], *signal), (pids, Some(9)));
        assert!(error.to_string().contains("SIGKILL"), "{error}");
        assert_eq!(
            pool.apply(|n: u32| n + 1, 1).unwrap(),
            2,
            "there is a new worker"
        );
    });
}

#[test]
fn fault_02_a_crash_is_a_lost_task() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        for _ in 0..5 * chaos() {
            let error = pool
                .apply(|()| -> () { std::process::abort() }, ())
                .unwrap_err();
            assert!(
                matches!(
                    error.kind(),
                    TaskErrorKind::WorkerLost {
                        signal: Some(6),
                        ..
                    }
                ),
                "{error}"
            );
        }
    });
}

#[test]
fn fault_03_exit_in_a_task_is_a_lost_task() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        for _ in 0..times(20, 500) {
            let exits = |n: u32| if n == 1 { std::process::exit(0) } else { n };
            let outcomes = pool.map_each(exits, [0, 1, 2]);
            assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
            let error = outcomes[1].as_ref().unwrap_err();
            assert!(error.is_worker_lost(), "{error}");
            assert!(error.to_string().contains("exited with code 0"), "{error}");
        }
    });
}

#[test]
fn fault_05_what_was_finished_is_delivered() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        for round in 0..times(20, 2_000) {
            let last = 50 + round;
            let dies_at_the_end = |(n, last): (u32, u32)| if n == last { kill_me() } else { n };
            let items = (0..=last).map(|n| (n, last));
            let results = pool.imap(dies_at_the_end, items).chunk_size(1_000);
            let outcomes: Vec<_> = results.collect();
            for (n, outcome) in (0..last).zip(&outcomes) {
                assert_eq!(*outcome.as_ref().unwrap(), n);
            }
            assert!(
                outcomes[last as usize]
                    .as_ref()
                    .is_err_and(TaskError::is_worker_lost)
            );
        }
    });
}

#[test]
fn fault_07_an_idle_death_costs_nothing() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let mut seen: HashSet<u32> = pool.worker_pids().into_iter().collect();
        for n in 0..u64::from(times(20, 5_000)) {
            for pid in pool.worker_pids() {
                kill(pid);
            }
            assert_eq!(
                pool.apply(|n: u64| n, n).unwrap(),
                n,
                "and asking at once is no race"
            );
            eventually("two new workers", || {
                let now = pool.worker_pids();
                now.len() == 2 && now.iter().all(|pid| !seen.contains(pid))
            });
            seen.extend(pool.worker_pids());
        }
    });
}

#[test]
fn fault_08_all_at_once() {
    within_a_minute(|| {
        let pool = Pool::new(4).unwrap();
        for _ in 0..times(10, 500) {
            let ledger = ledger(400);
            let items = (0..400).map(|item| (ledger.clone(), item, 1_000_000));
            let results = std::thread::scope(|scope| {
                let map = scope.spawn(|| pool.map_each(mark, items));
                std::thread::sleep(Duration::from_millis(30));
                for pid in pool.worker_pids() {
                    kill(pid);
                }
                map.join().unwrap()
            });
            assert!(check(&ledger, &results, 400) <= 4);
        }
    });
}

#[test]
fn fault_11_workers_that_kill_each_other() {
    within_a_minute(|| {
        for workers in [1, 2, 5, 13] {
            let pool = Pool::new(workers).unwrap();
            for round in 0..times(5, 200) as usize {
                let mut pids = Vec::new();
                eventually("a worker", || {
                    pids = pool.worker_pids();
                    let phase = format!("{pool:?}");
                    assert!(phase.contains("Open"), "{phase}");
                    !pids.is_empty()
                });
                let victims = (0..20).map(|n| pids[(n * 7 + round) % pids.len()]);
                let outcomes = pool.map_each(
                    |pid: u32| {
                        kill(pid);
                        pid
                    },
                    victims,
                );
                assert_eq!(outcomes.len(), 20);
                assert!(
                    outcomes
                        .iter()
                        .flat_map(Result::as_ref)
                        .all(|pid| pids.contains(pid))
                );
            }
            // The last to be killed may take this one along.
            let mut answers = (0..20).map(|_| pool.apply(|n: u8| n, 3));
            assert!(answers.any(|answer| match answer {
                Ok(value) => value == 3,
                Err(error) => {
                    assert!(error.is_worker_lost(), "{error}");
                    false
                }
            }));
        }
    });
}

#[test]
fn a_pool_of_poison_still_does_the_rest() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let poison = |n: u32| if n.is_multiple_of(10) { kill_me() } else { n };
        let outcomes = pool.map_each(poison, 0..200);
        for (n, outcome) in (0..200).zip(outcomes) {
            match outcome {
                Ok(value) => assert!(value == n && n % 10 != 0),
                Err(error) => assert!(error.is_worker_lost() && n % 10 == 0, "{n}: {error}"),
            }
        }
    });
}

#[test]
fn fault_27_drop_with_work_queued_leaves_nobody() {
    within_a_minute(|| {
        for _ in 0..times(20, 1_000) {
            let pool = Pool::new(2).unwrap();
            let pids = pool.worker_pids();
            let results: Vec<_> = (0..1_000)
                .map(|_| pool.apply_async(|()| std::thread::sleep(Duration::from_secs(60)), ()))
                .collect();
            let begun = Instant::now();
            drop(pool);
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "{:?}",
                begun.elapsed()
            );
            assert!(
                results
                    .iter()
                    .all(|result| result.try_get().unwrap_err().is_cancelled())
            );
            assert_eq!(alive(&pids), []);
        }
    });
}

#[test]
fn terminate_ends_ten_thousand_long_tasks_at_once() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let results: Vec<_> = (0..10_000)
            .map(|_| pool.apply_async(|()| std::thread::sleep(Duration::from_secs(60)), ()))
            .collect();
        let begun = Instant::now();
        pool.terminate();
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        assert!(
            results
                .iter()
                .all(|result| result.get().unwrap_err().is_cancelled())
        );
        assert!(pool.apply(|()| (), ()).unwrap_err().is_cancelled());
        assert!(pool.map(|n: u8| n, [1]).unwrap_err().is_cancelled());
        pool.join().unwrap();
        pool.terminate();
    });
}

#[test]
fn terminate_wakes_those_who_wait() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        std::thread::scope(|scope| {
            fn nap((): ()) {
                std::thread::sleep(Duration::from_secs(60));
            }
            let map = scope.spawn(|| pool.map_each(nap, vec![(); 100]));
            let apply = scope.spawn(|| pool.apply(nap, ()));
            let imap = scope.spawn(|| pool.imap(nap, std::iter::repeat(())).count());
            std::thread::sleep(Duration::from_millis(100));
            pool.terminate();
            let outcomes = map.join().unwrap();
            assert_eq!(outcomes.len(), 100);
            assert!(
                outcomes
                    .iter()
                    .all(|it| it.as_ref().is_err_and(TaskError::is_cancelled))
            );
            assert!(apply.join().unwrap().unwrap_err().is_cancelled());
            assert!(
                imap.join().unwrap() >= 1,
                "and the endless iterator has an end"
            );
        });
    });
}

#[test]
fn close_and_join_let_the_work_finish() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let pids = pool.worker_pids();
        assert!(pool.join().unwrap_err().is_open());
        let naps = [50, 50, 50].map(|millis| {
            pool.apply_async(|ms| std::thread::sleep(Duration::from_millis(ms)), millis)
        });
        pool.close();
        assert!(
            pool.join_timeout(Duration::from_millis(1))
                .unwrap_err()
                .is_timed_out()
        );
        let refused = pool.apply(|n: u8| n, 1).unwrap_err();
        assert!(
            refused.is_closed() && refused.to_string().contains("closed"),
            "{refused}"
        );
        assert!(pool.map(|n: u8| n, [1, 2]).unwrap_err().is_closed());
        let each = pool.map_each(|n: u8| n, [1, 2]);
        assert!(
            each.iter()
                .all(|it| it.as_ref().is_err_and(TaskError::is_closed))
        );
        assert_eq!(
            pool.imap(|n: u8| n, [1, 2]).filter(Result::is_ok).count(),
            0
        );
        pool.join().unwrap();
        pool.join().unwrap();
        assert!(naps.iter().all(|nap| nap.try_get().is_ok()));
        assert_eq!(alive(&pids), []);
    });
}

#[test]
fn a_closed_pool_still_replaces_its_dead() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let poison = |n: u32| if n.is_multiple_of(3) { kill_me() } else { n };
        let results: Vec<_> = (0..9).map(|n| pool.apply_async(poison, n)).collect();
        pool.close();
        pool.join().unwrap();
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result.try_get().is_ok(), n % 3 != 0);
        }
    });
}

#[test]
fn fault_28_close_join_and_terminate_from_many_threads() {
    within_a_minute(|| {
        for seed in 0..u64::from(times(20, 10_000)) {
            let mut chance = Chance::new(seed);
            let pool = Pool::new(2).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    let (pool, choice) = (&pool, chance.below(5));
                    scope.spawn(move || match choice {
                        0 => pool.close(),
                        1 => drop(pool.join_timeout(Duration::from_millis(20))),
                        2 => pool.terminate(),
                        3 => drop(pool.map(|n: u64| n, 0..100)),
                        _ => drop(pool.apply(|n: u64| n, 1)),
                    });
                }
            });
            pool.close();
            pool.join().unwrap();
            assert!(pool.apply(|n: u64| n, 1).is_err());
        }
    });
}

#[test]
fn nothing_is_left_behind() {
    within_a_minute(|| {
        let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let round = || {
            let pool = Pool::new(2).unwrap();
            let pids = pool.worker_pids();
            pool.map(|n: u64| n, 0..100).unwrap();
            kill(pids[0]);
            pool.map(|block: Vec<u8>| block, vec![vec![1; 1 << 20]; 4])
                .unwrap();
            pids
        };
        let mut pids = round();
        // Other tests run beside this one: only a trend is a leak.
        let before = fds();
        for _ in 0..20 {
            pids.extend(round());
        }
        eventually("as many open files as before", || fds() <= before + 8);
        assert_eq!(alive(&pids), []);
    });
}
