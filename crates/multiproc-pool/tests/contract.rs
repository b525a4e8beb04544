//! One contract, two pools: processes and threads.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::within_a_minute;
use multiproc_pool::{AnyPool, Pool, PoolHandle, Retry, TaskError, ThreadPool};
use multiproc_sync::Value;

/// Runs one check on a pool of either kind, of so many workers.
macro_rules! contract {
    ($($name:ident($workers:expr);)*) => {
        mod processes {
            use super::*;
            $(#[test]
            fn $name() {
                within_a_minute(|| {
                    let pool = Pool::new($workers).unwrap();
                    check(&pool, super::$name);
                });
            })*
        }
        mod threads {
            use super::*;
            $(#[test]
            fn $name() {
                within_a_minute(|| {
                    let pool = ThreadPool::new($workers).unwrap();
                    check(&pool, super::$name);
                });
            })*
        }
    };
}

fn check<P: AnyPool<State = ()>>(pool: &P, check: fn(&PoolHandle)) {
    check(pool.handle());
}

contract! {
    every_verb_answers(2);
    each_item_has_its_own_outcome(2);
    results_come_in_order_or_as_they_are_ready(2);
    several_threads_wait_for_one_result(2);
    handles_are_shared_and_values_are_copies(2);
    callbacks_run_one_by_one_in_this_process(2);
    callbacks_may_panic_close_and_end_the_pool(2);
    a_queued_task_is_cancelled_and_never_run(1);
    a_running_task_is_cancelled(1);
    a_task_over_its_limit_is_answered(1);
    a_limit_is_for_each_task_alone(2);
    closed_is_closed_and_joined_is_done(2);
    terminate_answers_everything(2);
    progress_is_told(2);
    stats_count_tasks(2);
    options_do_not_stick(1);
}

fn square(n: u64) -> u64 {
    n * n
}

fn even(n: u64) -> u64 {
    assert!(n.is_multiple_of(2), "{n} is odd");
    n
}

fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

/// Marks that it runs, and waits for leave.
fn hold((begun, leave): (Value<u32>, Value<u32>)) {
    begun.update(|n| *n += 1);
    while leave.get() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn value() -> Value<u32> {
    Value::new(0).unwrap()
}

fn eventually_begun(begun: &Value<u32>) {
    common::eventually("it is begun", || begun.get() > 0);
}

fn every_verb_answers(pool: &PoolHandle) {
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    assert_eq!(pool.call(|| 7).unwrap(), 7);
    assert_eq!(pool.apply_async(square, 4).get().unwrap(), 16);
    assert_eq!(pool.map(square, 0..4).unwrap(), [0, 1, 4, 9]);
    let pairs = [(1, 2), (3, 4)];
    let sums = pool.map(|(a, b): (u32, u32)| a + b, pairs).unwrap();
    assert_eq!(sums, [3, 7]);
    assert_eq!(pool.map_async(square, 0..100).get().unwrap().len(), 100);
    assert_eq!(pool.map_each(square, 0..3).len(), 3);
    assert_eq!(pool.imap(square, 0..1000).count(), 1000);
    assert_eq!(pool.imap_unordered(square, 0..1000).count(), 1000);
}

fn each_item_has_its_own_outcome(pool: &PoolHandle) {
    let outcomes = pool.map_each(even, 0..20);
    for (n, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(value) => assert_eq!((value, n % 2), (n, 0)),
            Err(error) => {
                assert!(error.is_panicked() && n % 2 == 1, "{error}");
                assert_eq!((error.index() as u64, error.attempts()), (n, 1));
            }
        }
    }
    assert_eq!(pool.map(even, [0, 2, 3]).unwrap_err().index(), 2);
    assert_eq!(pool.map(even, [0, 2]).unwrap(), [0, 2], "and goes on");
}

fn results_come_in_order_or_as_they_are_ready(pool: &PoolHandle) {
    let naps: Vec<u64> = (0..20).map(|n| n * 7 % 5).collect();
    assert_eq!(pool.map(nap, naps.clone()).unwrap(), naps);
    let ordered: Result<Vec<_>, _> = pool.imap(nap, naps.clone()).collect();
    assert_eq!(ordered.unwrap(), naps);
    let mut ready: Vec<u64> = pool
        .imap_unordered(nap, naps.clone())
        .chunk_size(3)
        .buffer(9)
        .map(Result::unwrap)
        .collect();
    ready.sort_unstable();
    let mut sorted = naps;
    sorted.sort_unstable();
    assert_eq!(ready, sorted);
}

fn several_threads_wait_for_one_result(pool: &PoolHandle) {
    let (begun, leave) = (value(), value());
    let held = pool.apply_async(hold, (begun.clone(), leave.clone()));
    assert!(!held.is_ready() && held.is_successful().is_none());
    assert!(held.try_get().unwrap_err().is_timed_out());
    assert!(!held.wait(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| held.get().unwrap());
        }
        eventually_begun(&begun);
        leave.set(1);
    });
    assert_eq!(held.is_successful(), Some(true));
    let failed = pool.apply_async(even, 1);
    assert!(failed.get().unwrap_err().is_panicked());
    assert_eq!(failed.is_successful(), Some(false));
}

fn handles_are_shared_and_values_are_copies(pool: &PoolHandle) {
    let total = value();
    let add = |(total, n): (Value<u32>, u32)| total.update(|sum| *sum += n);
    pool.map(add, (1..=100).map(|n| (total.clone(), n)))
        .unwrap();
    assert_eq!(total.get(), 5050);
}

fn callbacks_run_one_by_one_in_this_process(pool: &PoolHandle) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    for n in 0..50 {
        let (good, bad) = (Arc::clone(&seen), Arc::clone(&seen));
        let place = std::thread::current().id();
        pool.apply_async(even, n)
            .callback(move |value| {
                assert_ne!(std::thread::current().id(), place);
                good.lock().unwrap().push(*value);
            })
            .error_callback(move |error| {
                assert!(error.is_panicked());
                bad.lock().unwrap().push(1000);
            });
    }
    let sums = Arc::clone(&seen);
    pool.map_async(square, 0..10)
        .callback(move |all| sums.lock().unwrap().push(all.iter().sum()));
    pool.close();
    pool.join().unwrap();
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    let mut expected: Vec<u64> = (0..50).filter(|n| n % 2 == 0).collect();
    expected.push(285);
    expected.extend([1000; 25]);
    expected.sort_unstable();
    assert_eq!(seen, expected);
    // After the end they come, too.
    let late = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&late);
    pool.apply_async(square, 1).error_callback(move |error| {
        assert!(error.is_closed());
        counter.fetch_add(1, Ordering::Relaxed);
    });
    common::eventually("the last callback", || late.load(Ordering::Relaxed) == 1);
}

fn callbacks_may_panic_close_and_end_the_pool(pool: &PoolHandle) {
    let (inner, other) = (pool.clone(), pool.clone());
    let (done, is_done) = std::sync::mpsc::channel();
    pool.apply_async(square, 1)
        .callback(|_| panic!("this callback panics, and is to"));
    pool.apply_async(square, 2).callback(move |value| {
        let again = inner.apply(square, *value).unwrap();
        inner.close();
        inner.join().unwrap();
        done.send(again).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(30)), Ok(16));
    let (done, is_done) = std::sync::mpsc::channel();
    pool.apply_async(square, 3).error_callback(move |error| {
        other.terminate();
        done.send(error.is_closed()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(30)), Ok(true));
}

fn a_queued_task_is_cancelled_and_never_run(pool: &PoolHandle) {
    let (begun, leave, ran) = (value(), value(), value());
    let held = pool.apply_async(hold, (begun.clone(), leave.clone()));
    eventually_begun(&begun);
    let mark = |ran: Value<u32>| ran.update(|n| *n += 1);
    let one = pool.apply_async(mark, ran.clone());
    let many = pool.map_async(mark, vec![ran.clone(); 100]);
    let after = pool.apply_async(square, 5);
    assert!(one.cancel() && many.cancel());
    assert!(!one.cancel(), "it has ended");
    let error = one.get().unwrap_err();
    assert!(error.is_cancelled() && error.attempts() == 0, "{error:?}");
    assert!(many.get().unwrap_err().is_cancelled());
    leave.set(1);
    assert_eq!(after.get().unwrap(), 25);
    held.get().unwrap();
    assert_eq!(ran.get(), 0);
    assert!(!after.cancel() && after.get().is_ok());
}

fn a_running_task_is_cancelled(pool: &PoolHandle) {
    let (begun, leave) = (value(), value());
    let held = pool.apply_async(hold, (begun.clone(), leave.clone()));
    eventually_begun(&begun);
    assert!(held.cancel());
    let error = held.get().unwrap_err();
    assert!(error.is_cancelled() && error.attempts() == 1, "{error:?}");
    leave.set(1);
    assert_eq!(pool.apply(square, 5).unwrap(), 25);
}

fn a_task_over_its_limit_is_answered(pool: &PoolHandle) {
    let leave = value();
    let quick = pool.task_timeout(Duration::from_millis(100));
    let error = quick.apply(hold, (value(), leave.clone())).unwrap_err();
    assert!(error.is_timed_out() && error.attempts() == 1, "{error:?}");
    assert!(error.to_string().contains("limit"), "{error}");
    leave.set(1);
    assert_eq!(quick.apply(square, 5).unwrap(), 25);
}

fn a_limit_is_for_each_task_alone(pool: &PoolHandle) {
    let calm = pool.task_timeout(Duration::from_secs(30));
    assert_eq!(calm.map(nap, [20; 20]).unwrap(), [20; 20]);
    let leave = value();
    let hold_one = |(n, leave): (u32, Value<u32>)| {
        if n == 7 {
            hold((Value::new(0).unwrap(), leave));
        }
        n
    };
    let quick = pool.task_timeout(Duration::from_millis(300));
    let items = (0..20).map(|n| (n, leave.clone()));
    let chunked = quick.imap(hold_one, items).chunk_size(20);
    let outcomes: Vec<Result<u32, TaskError>> = {
        let leave = leave.clone();
        // A thread cannot be stopped: it needs leave to come to the rest.
        let free = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            leave.set(1);
        });
        let outcomes = chunked.collect();
        free.join().unwrap();
        outcomes
    };
    for (n, outcome) in (0..).zip(&outcomes) {
        match outcome {
            Ok(value) => assert!(*value == n && n != 7),
            Err(error) => assert!(error.is_timed_out() && n == 7, "{n}: {error}"),
        }
    }
    assert_eq!(outcomes.len(), 20);
}

fn closed_is_closed_and_joined_is_done(pool: &PoolHandle) {
    assert!(pool.join().unwrap_err().is_open());
    let naps = [30, 30, 30].map(|millis| pool.apply_async(nap, millis));
    pool.close();
    assert!(pool.apply(square, 1).unwrap_err().is_closed());
    assert!(pool.map(square, [1]).unwrap_err().is_closed());
    pool.join().unwrap();
    assert!(naps.iter().all(|nap| nap.try_get().is_ok()));
    pool.join().unwrap();
    pool.terminate();
}

fn terminate_answers_everything(pool: &PoolHandle) {
    let (begun, leave) = (value(), value());
    let held = pool.apply_async(hold, (begun.clone(), leave.clone()));
    let queued: Vec<_> = (0..100).map(|n| pool.apply_async(square, n)).collect();
    eventually_begun(&begun);
    pool.terminate();
    assert!(held.get().unwrap_err().is_cancelled());
    for result in queued {
        assert!(result.get().map_or_else(|it| it.is_cancelled(), |_| true));
    }
    assert!(pool.apply(square, 1).unwrap_err().is_cancelled());
    leave.set(1);
    pool.join().unwrap();
}

fn progress_is_told(pool: &PoolHandle) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let watched = pool.progress(move |so_far| sink.lock().unwrap().push(so_far));
    watched.map(square, 0..500).unwrap();
    let last = std::mem::take(&mut *seen.lock().unwrap());
    assert!(last.windows(2).all(|two| two[0].done < two[1].done));
    assert!(last.iter().all(|it| it.total == Some(500)));
    assert_eq!(last.last().unwrap().done, 500);
    let _: Vec<_> = watched.imap(square, (0..50).filter(|_| true)).collect();
    assert_eq!(seen.lock().unwrap().last().unwrap().done, 50);
}

fn stats_count_tasks(pool: &PoolHandle) {
    pool.map(square, 0..300).unwrap();
    let (begun, leave) = (value(), value());
    let held = pool.map_async(hold, [(begun.clone(), leave.clone())]);
    eventually_begun(&begun);
    let stats = pool.stats();
    assert_eq!(stats.workers.len(), 2);
    let done: u64 = stats.workers.iter().map(|worker| worker.tasks_done).sum();
    assert_eq!(done, 300);
    let busy = |worker: &&multiproc_pool::WorkerStats| worker.current_task == Some(0);
    assert_eq!(stats.workers.iter().filter(busy).count(), 1, "{stats:?}");
    assert_eq!(stats.handed_out, 1);
    leave.set(1);
    held.get().unwrap();
    let stats = pool.stats();
    assert_eq!(stats.handed_out + stats.waiting, 0, "{stats:?}");
}

fn options_do_not_stick(pool: &PoolHandle) {
    let quick = pool
        .task_timeout(Duration::from_millis(50))
        .retry(Retry::idempotent(2));
    assert_eq!(quick.apply(square, 2).unwrap(), 4);
    assert_eq!(pool.apply(nap, 300).unwrap(), 300, "without a limit");
}
