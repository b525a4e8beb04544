//! Pools in the server: every verb, errors as in a pool of one's own, and who ends with whom.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use multiproc_manager::{DictProxy, EventProxy, Manager, PoolProxy};
use multiproc_pool::{Pool, TaskError};
use multiproc_process::Process;
use multiproc_shm::testing::kills;
use multiproc_sys::child::{PidFd, Signal};
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;

const LONG: Duration = Duration::from_secs(60);

fn manager() -> Manager {
    Manager::start().expect("a server")
}

/// Holds the workers, so that their end can be seen whoever reaps them.
fn watched(pool: &PoolProxy) -> Vec<PidFd> {
    let pids = pool.worker_pids().expect("counted");
    assert!(!pids.is_empty());
    let open = |pid| PidFd::open(pid).expect("it lives");
    pids.into_iter().map(open).collect()
}

fn assert_they_end(workers: &[PidFd]) {
    for worker in workers {
        let ended = poll::readable(worker.as_fd(), Deadline::after(LONG));
        assert_eq!(ended, Ok(true), "a worker lives on");
    }
}

fn divide(n: u32) -> u32 {
    60 / n
}

#[test]
fn every_verb_answers_as_a_pool_of_ones_own() {
    let manager = manager();
    let pool = manager.pool(2).expect("a pool");
    assert_eq!(pool.apply(divide, 4).expect("divided"), 15);
    assert_eq!(pool.call(|| "x".repeat(3)).expect("called"), "xxx");
    assert_eq!(pool.map(divide, [1, 2, 3]).expect("mapped"), [60, 30, 20]);
    let failed = pool.map(divide, [1, 2, 0, 4]).expect_err("by zero");
    let error = failed.object().expect("the task's own error");
    assert!(error.is_panicked() && error.index() == 2, "{error:?}");
    assert!(error.to_string().contains("divide by zero"), "{error}");
    let each = pool.map_each(divide, [0, 5, 0]).expect("answered");
    let indices = each.iter().map(|r| r.as_ref().map_err(TaskError::index));
    assert!(indices.eq([Err(0), Ok(&12), Err(2)]));
    let imap = pool.imap(divide, 0..=1000).buffer(50);
    let values: Vec<_> = imap.map(|r| r.ok()).collect();
    assert!(
        values[0].is_none()
            && values[1..]
                .iter()
                .copied()
                .eq((1..=1000).map(|n| Some(60 / n)))
    );
    let local = Pool::new(2).expect("a pool");
    let theirs = pool.apply(divide, 0).expect_err("by zero");
    let ours = local.apply(divide, 0).expect_err("by zero");
    assert_eq!(theirs.to_string(), ours.to_string());
}

#[test]
fn closed_terminated_and_refused() {
    let manager = manager();
    let pool = manager.pool(1).expect("a pool");
    let open = pool.join_timeout(LONG).expect_err("it takes work");
    assert!(open.object().expect("its own error").is_open());
    let last = pool.apply_async(divide, 6);
    pool.close().expect("closed");
    pool.join().expect("all done");
    assert_eq!(last.wait().expect("answered").expect("divided"), 10);
    let late = pool.apply(divide, 6).expect_err("closed");
    assert!(late.object().expect("its own error").is_closed());
    let pool = manager.pool(1).expect("a pool");
    let workers = watched(&pool);
    let endless = pool.apply_async(|()| std::thread::sleep(LONG * 60), ());
    pool.terminate().expect("terminated");
    let cancelled = endless.wait().expect("answered").expect_err("cancelled");
    assert!(cancelled.is_cancelled(), "{cancelled:?}");
    assert_they_end(&workers);
    let failing = |()| Pool::builder().workers(1_000_000).build();
    let refused = manager.pool_with(failing, ()).expect_err("too many");
    assert!(refused.is_refused(), "{refused}");
    assert!(refused.to_string().contains("workers"), "{refused}");
}

#[test]
fn a_worker_that_dies_costs_its_task() {
    let manager = manager();
    let pool = manager.pool(2).expect("a pool");
    for _ in 0..kills(20) {
        let error = pool
            .call::<()>(|| std::process::abort())
            .expect_err("it died");
        let error: &TaskError = error.object().expect("the task's own error");
        assert!(error.is_worker_lost(), "{error:?}");
        assert_eq!(pool.apply(divide, 3).expect("the others go on"), 20);
    }
}

fn use_it((pool, dict): (PoolProxy, DictProxy<u32, u32>)) -> Vec<u32> {
    let count = |(dict, n): (DictProxy<u32, u32>, u32)| {
        dict.update_or(n % 2, 0, |sum, by| *sum += by, n)
            .expect("updated");
        n * n
    };
    let items = (0..10).map(|n| (dict.clone(), n));
    pool.map(count, items).expect("mapped")
}

#[test]
fn a_pool_travels_and_its_tasks_reach_the_servers_objects() {
    let manager = manager();
    let pool = manager.pool(2).expect("a pool");
    let dict = manager.dict().expect("a dict");
    let user = Process::new(use_it, (pool.clone(), dict.clone()));
    let user = user.start().expect("started");
    let squares = user.join_timeout(LONG).expect("no panic");
    assert!(squares.into_iter().eq((0..10).map(|n| n * n)));
    let sums: Vec<_> = dict.iter().collect::<Result<_, _>>().expect("read");
    assert_eq!(sums, [(0, 20), (1, 25)]);
}

#[test]
fn tasks_under_way_occupy_no_thread_of_the_server() {
    let manager = manager();
    let pool = manager.pool(1).expect("a pool");
    let event = manager.event().expect("an event");
    let wait = |event: EventProxy| event.wait().expect("it is set");
    let first = pool.apply_async(wait, event.clone());
    let others: Vec<_> = (1..=2000).map(|n| pool.apply_async(divide, n)).collect();
    // Behind all of them, so the server has begun them.
    let dict = manager.dict::<u32, u32>().expect("a dict");
    dict.insert(1, 1).expect("inserted");
    let server = manager.pid().expect("ours");
    let tasks = std::fs::read_dir(format!("/proc/{server}/task")).expect("it lives");
    let threads = tasks.count();
    assert!(threads < 30, "{threads} threads");
    event.set().expect("set");
    first.wait().expect("answered").expect("it waited");
    for (n, other) in (1..).zip(others) {
        assert_eq!(other.wait().expect("answered").expect("divided"), 60 / n);
    }
}

#[test]
fn a_pool_that_nobody_has_any_more_ends() {
    let manager = manager();
    let (before, _) = manager.census().expect("counted");
    let pool = manager.pool(2).expect("a pool");
    let workers = watched(&pool);
    // Work that nobody will hear of does not keep it.
    drop(pool.apply_async(|()| std::thread::sleep(LONG * 60), ()));
    drop(pool);
    assert_they_end(&workers);
    let until = Instant::now() + LONG;
    while manager.census().expect("counted").0 != before {
        assert!(Instant::now() < until, "an object is left");
        std::thread::yield_now();
    }
}

#[test]
fn fault_29_workers_end_with_the_server() {
    for round in 0..kills(10) {
        let manager = manager();
        let pool = manager.pool(2).expect("a pool");
        let workers = watched(&pool);
        let under_way = pool.apply_async(|()| std::thread::sleep(LONG * 60), ());
        let server = PidFd::open(manager.pid().expect("ours")).expect("it lives");
        if round % 2 == 0 {
            server.signal(Signal::Kill).expect("killed");
        } else {
            manager.shutdown().expect("it ends");
        }
        assert!(under_way.wait().expect_err("gone").is_server_gone());
        assert!(pool.apply(divide, 1).expect_err("gone").is_server_gone());
        assert_they_end(&workers);
    }
}
