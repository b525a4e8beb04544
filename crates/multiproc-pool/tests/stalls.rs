//! Workers that stall, and tasks that are tried again.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::time::{Duration, Instant};

use common::{chaos, eventually, kill, kill_me, times, within_a_minute};
use multiproc_pool::{Pool, Retry, TaskErrorKind};
use multiproc_sync::Value;

const LIMIT: Duration = Duration::from_millis(200);

fn value() -> Value<u32> {
    Value::new(0).unwrap()
}

/// Calls `task` under a limit of 200 ms, and says how long the error took.
fn timed_out(pool: &Pool, task: fn(u32) -> ()) -> Duration {
    let limited = pool.task_timeout(LIMIT);
    let begun = Instant::now();
    let error = limited.apply(task, 0).unwrap_err();
    let took = begun.elapsed();
    assert!(error.is_timed_out() && error.attempts() == 1, "{error:?}");
    assert!(took >= LIMIT, "{took:?}");
    took
}

fn works_again(pool: &Pool) {
    let begun = Instant::now();
    assert_eq!(pool.apply(|n: u32| n + 1, 1).unwrap(), 2);
    println!("a new worker after {:?}", begun.elapsed());
}

#[test]
fn fault_15_an_endless_loop_ends_at_its_limit() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let mut all = Vec::new();
        for _ in 0..times(20, 500) {
            let endless = |_| {
                loop {
                    std::hint::spin_loop();
                }
            };
            all.push(timed_out(&pool, endless));
            works_again(&pool);
        }
        all.sort_unstable();
        println!("200 ms: {:?} to {:?}", all[0], all[all.len() - 1]);
    });
}

#[test]
fn fault_16_a_stopped_worker_is_one_that_hangs() {
    within_a_minute(|| {
        let build = Pool::builder().workers(1).grace(Duration::from_millis(100));
        let pool = build.build().unwrap();
        for _ in 0..times(3, 200) {
            let pid = pool.call(std::process::id).unwrap();
            timed_out(&pool, |_| {
                multiproc_sys::testing::stop(std::process::id(), true).unwrap();
            });
            eventually("it is gone", || !pool.worker_pids().contains(&pid));
            works_again(&pool);
        }
        // Without a limit, waiting for it is bounded all the same.
        let stopped = pool.apply_async(
            |_: u32| multiproc_sys::testing::stop(std::process::id(), true).unwrap(),
            0,
        );
        pool.close();
        let begun = Instant::now();
        let error = pool.join_timeout(Duration::from_millis(300)).unwrap_err();
        assert!(error.is_timed_out() && begun.elapsed() < Duration::from_secs(10));
        pool.terminate();
        assert!(stopped.get().unwrap_err().is_cancelled());
    });
}

/// Takes no notice of being asked to end, as far as a task can.
fn deaf((begun, asked): (Value<u32>, Value<u32>)) {
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGTERM);
    signals.thread_block().unwrap();
    begun.set(std::process::id());
    signals.wait().unwrap();
    asked.set(1);
    loop {
        std::thread::park();
    }
}

#[test]
fn fault_17_a_task_that_ignores_being_asked_is_killed_after_the_grace() {
    within_a_minute(|| {
        let grace = Duration::from_millis(300);
        let pool = Pool::builder().workers(1).grace(grace).build().unwrap();
        for _ in 0..times(5, 5) {
            let (begun, asked) = (value(), value());
            let running = pool.apply_async(deaf, (begun.clone(), asked.clone()));
            eventually("it is begun", || begun.get() != 0);
            assert!(running.cancel());
            assert!(running.get().unwrap_err().is_cancelled());
            let answered = Instant::now();
            eventually("it was asked", || asked.get() == 1);
            eventually("it is gone", || !pool.worker_pids().contains(&begun.get()));
            println!("killed {:?} after it was asked", answered.elapsed());
            assert!(answered.elapsed() + Duration::from_millis(50) >= grace);
            works_again(&pool);
        }
    });
}

#[test]
fn a_task_may_finish_within_the_grace_and_nothing_else_is_begun_there() {
    within_a_minute(|| {
        let pool = Pool::builder().workers(1).grace(Duration::from_secs(30));
        let pool = pool.build().unwrap();
        let late = |leave: Value<u32>| {
            let mut signals = nix::sys::signal::SigSet::empty();
            signals.add(nix::sys::signal::Signal::SIGTERM);
            signals.thread_block().unwrap();
            while leave.get() == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::process::id()
        };
        let leave = value();
        let first = pool.task_timeout(LIMIT).apply_async(late, leave.clone());
        let second = pool.apply_async(|()| std::process::id(), ());
        let before = pool.worker_pids();
        assert!(first.get().unwrap_err().is_timed_out());
        assert!(!second.is_ready());
        leave.set(1);
        let pid = second.get().unwrap();
        assert!(!before.contains(&pid), "by another worker");
        assert!(first.get().unwrap_err().is_timed_out(), "answered once");
    });
}

#[test]
fn fault_13_an_idempotent_task_dies_twice_and_then_lives() {
    within_a_minute(|| {
        let pool = Pool::builder().workers(2).retry(Retry::idempotent(3));
        let pool = pool.build().unwrap();
        for _ in 0..times(5, 200) {
            let starts = value();
            let dies_twice = |starts: Value<u32>| {
                starts.update(|n| *n += 1);
                if starts.get() <= 2 {
                    kill_me();
                }
                starts.get()
            };
            assert_eq!(pool.apply(dies_twice, starts.clone()).unwrap(), 3);
            assert_eq!(starts.get(), 3);
        }
    });
}

/// How long 200 tasks of 10 ms take two workers, `poison`ed or not.
fn time_beside(poison: bool) -> Duration {
    let pool = Pool::new(2).unwrap();
    let patient = pool.retry(Retry::idempotent(3));
    pool.map(|n: u32| n, 0..10).unwrap();
    let begun = Instant::now();
    let die = |()| -> () { kill_me() };
    let poison = poison.then(|| patient.apply_async(die, ()));
    let task = |n: u32| {
        std::thread::sleep(Duration::from_millis(10));
        n
    };
    let results: Result<Vec<u32>, _> = pool.imap_unordered(task, 0..200).collect();
    let took = begun.elapsed();
    assert_eq!(results.unwrap().len(), 200);
    if let Some(poison) = poison {
        let error = poison.get().unwrap_err();
        assert!(error.is_worker_lost() && error.attempts() == 4, "{error:?}");
    }
    took
}

/// The tasks sleep, so that a busy machine slows both runs alike; one lucky pair of a few is enough.
#[test]
fn fault_14_poison_takes_little_from_the_others() {
    within_a_minute(|| {
        let ratios =
            (0..5).map(|_| time_beside(false).as_secs_f64() / time_beside(true).as_secs_f64());
        let mut seen = Vec::new();
        let is_good = ratios.into_iter().any(|ratio| {
            seen.push(ratio);
            ratio >= 0.8
        });
        assert!(is_good, "throughput beside poison: {seen:?}");
    });
}

#[test]
fn fault_14_poison_with_a_retry_ends_with_its_attempts() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let patient = pool.retry(Retry::idempotent(3));
        for _ in 0..times(2, 50) {
            let starts = value();
            let poison = |(n, starts): (u32, Value<u32>)| {
                if n == 5 {
                    starts.update(|n| *n += 1);
                    kill_me();
                }
                n
            };
            let items = (0..50).map(|n| (n, starts.clone()));
            let outcomes: Vec<_> = patient.imap(poison, items).chunk_size(50).collect();
            for (n, outcome) in (0..).zip(&outcomes) {
                match outcome {
                    Ok(value) => assert!(*value == n && n != 5),
                    Err(error) => {
                        assert!(n == 5 && error.attempts() == 4, "{error:?}");
                        let lost = matches!(error.kind(), TaskErrorKind::WorkerLost { .. });
                        assert!(lost && error.to_string().contains("4 times"), "{error}");
                    }
                }
            }
            assert_eq!((outcomes.len(), starts.get()), (50, 4));
        }
    });
}

#[test]
fn what_panics_or_takes_too_long_is_not_tried_again() {
    within_a_minute(|| {
        let pool = Pool::builder().workers(1).retry(Retry::idempotent(5));
        let pool = pool.build().unwrap();
        let starts = value();
        let panics = |starts: Value<u32>| -> () {
            starts.update(|n| *n += 1);
            panic!("again and again")
        };
        assert!(
            pool.apply(panics, starts.clone())
                .unwrap_err()
                .is_panicked()
        );
        let limited = pool.task_timeout(LIMIT);
        let hangs = |starts: Value<u32>| {
            starts.update(|n| *n += 1);
            std::thread::sleep(Duration::from_secs(600));
        };
        assert!(
            limited
                .apply(hangs, starts.clone())
                .unwrap_err()
                .is_timed_out()
        );
        assert_eq!(starts.get(), 2);
    });
}

#[test]
fn kills_timeouts_and_cancels_at_random_answer_each_once() {
    within_a_minute(|| {
        let mut chance = common::Chance::new(5);
        let pool = Pool::builder().workers(3).grace(Duration::from_millis(20));
        let pool = pool.build().unwrap();
        let limited = pool.task_timeout(Duration::from_millis(10));
        for _ in 0..5 * chaos() {
            let runs = multiproc_sync::RawArray::<u32>::new(300).unwrap();
            let run = |(item, millis, runs): (usize, u64, multiproc_sync::RawArray<u32>)| {
                runs.set(item, runs.get(item) + 1);
                std::thread::sleep(Duration::from_millis(millis));
                item
            };
            let results: Vec<_> = (0..300)
                .map(|item| {
                    let millis = [0, 0, 0, 0, 1, 40][chance.below(6) as usize];
                    limited.apply_async(run, (item, millis, runs.clone()))
                })
                .collect();
            for _ in 0..40 {
                let victim = &results[chance.below(300) as usize];
                victim.cancel();
                std::thread::sleep(Duration::from_micros(chance.below(3000)));
                if chance.below(8) == 0
                    && let Some(pid) = pool.worker_pids().first()
                    && pool.stats().workers[0].tasks_done > 0
                {
                    kill(*pid);
                }
            }
            let mut counts = [0; 4];
            for (item, result) in results.iter().enumerate() {
                let kind = match result.get() {
                    Ok(value) => {
                        assert!(value == item && runs.get(item) == 1);
                        0
                    }
                    Err(error) if error.is_cancelled() => 1,
                    Err(error) if error.is_timed_out() => 2,
                    Err(error) => {
                        assert!(error.is_worker_lost(), "{error}");
                        3
                    }
                };
                counts[kind] += 1;
                assert!(runs.get(item) <= 1, "{item} ran {} times", runs.get(item));
            }
            let [done, cancelled, late, lost] = counts;
            println!("{done} done, {cancelled} cancelled, {late} late, {lost} lost");
        }
    });
}
