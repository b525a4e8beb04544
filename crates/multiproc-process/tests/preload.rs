//! What a fork server loads once, all its children have, without memory of their own for it.

mod common;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{eventually, helper, is_helper, limited, run};
use multiproc_process::{Process, StartError, StartMethod, set_forkserver_preload, testing};
use multiproc_shm::{Kind, Object};

const CHILDREN: usize = 20;

static MODEL: OnceLock<Vec<u64>> = OnceLock::new();
static LOADS: AtomicU64 = AtomicU64::new(0);

/// How much the tests load: 1 GiB in a long run.
fn mebibytes() -> usize {
    if std::env::var_os("CHAOS").is_some() {
        1024
    } else {
        48
    }
}

fn model() -> &'static [u64] {
    MODEL.get_or_init(|| {
        LOADS.fetch_add(1, Ordering::Relaxed);
        (0..mebibytes() as u64 * 1024 * 128).collect()
    })
}

#[test]
fn what_is_loaded_once_is_in_memory_once() {
    limited(|| drop(run(&mut helper("shares_a_model"))));
}

#[test]
fn shares_a_model() {
    if !is_helper("shares_a_model") {
        return;
    }
    set_forkserver_preload(|| {
        model();
    });
    let board = Object::create(Kind::Plain, 1, 64, |_| ()).unwrap();
    let read = |board: Object| {
        let sum = model().iter().step_by(512).sum::<u64>();
        let [ready, over, ..] = board.words() else {
            return (0, 0);
        };
        ready.fetch_add(1, Ordering::SeqCst);
        eventually("the parent has looked", || over.load(Ordering::SeqCst) == 1);
        (sum, LOADS.load(Ordering::Relaxed))
    };
    let start = |_| Process::new(read, board.clone()).start().unwrap();
    let children: Vec<_> = (0..CHILDREN).map(start).collect();
    let ready = || board.words()[0].load(Ordering::SeqCst) == CHILDREN as u64;
    eventually("all have read it all", ready);
    let each: Vec<_> = children.iter().map(|child| share_of(child.pid())).collect();
    let servers = testing::fork_servers();
    let total = each.iter().sum::<u64>() + servers.into_iter().map(share_of).sum::<u64>();
    board.words()[1].store(1, Ordering::SeqCst);
    for child in children {
        let (sum, loads) = child.join().unwrap();
        assert_ne!(sum, 0);
        assert_eq!(loads, 1, "loaded in the fork server and nowhere else");
    }
    assert!(MODEL.get().is_none(), "not in this process");
    let total = total / 1024;
    println!(
        "\n{CHILDREN} children that read {} MiB take {total} MiB in all",
        mebibytes()
    );
    // Once, and something for each process.
    let most = mebibytes() + 2 * (CHILDREN + 1);
    assert!(
        total as usize <= most,
        "{total} MiB, not {most}; each: {each:?} KiB"
    );
}

/// Memory of a process in KiB; what several have counts for each in parts.
fn share_of(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = common::after(&text, "Pss:").unwrap();
    line.trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_preload_that_fails_is_an_error_at_the_start() {
    limited(|| drop(run(&mut helper("fails_to_preload"))));
}

#[test]
fn fails_to_preload() {
    if !is_helper("fails_to_preload") {
        return;
    }
    let start = || Process::call(|| 5).start();
    let refused = |wanted: &str| {
        for _ in 0..2 {
            let error = start().unwrap_err();
            assert!(error.is_preload(), "{error:?}");
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(matches!(error, StartError::Preload(_)));
        }
    };
    assert_eq!(start().unwrap().join(), Ok(5));
    set_forkserver_preload(|| panic!("no model today"));
    refused("panicked at crates/multiproc-process/tests/preload.rs");
    refused("no model today");
    set_forkserver_preload(|| {
        let thread = std::thread::Builder::new().name("loader".into());
        drop(thread.spawn(|| {
            loop {
                std::thread::park();
            }
        }));
    });
    refused("loader");
    set_forkserver_preload(|| std::process::exit(3));
    refused("exited with code 3");
    // A thread that has been joined is none. Other methods never load.
    set_forkserver_preload(|| std::thread::spawn(|| ()).join().unwrap());
    assert_eq!(start().unwrap().join(), Ok(5));
    set_forkserver_preload(|| panic!("not here"));
    let spawned = Process::call(|| 6).start_method(StartMethod::Spawn).start();
    assert_eq!(spawned.unwrap().join(), Ok(6));
}

#[test]
fn another_preload_takes_the_place_of_the_last() {
    limited(|| drop(run(&mut helper("preloads_twice"))));
}

#[test]
fn preloads_twice() {
    if !is_helper("preloads_twice") {
        return;
    }
    let loads = || {
        let process = Process::call(|| LOADS.load(Ordering::Relaxed));
        process.start().unwrap().join().unwrap()
    };
    assert_eq!(loads(), 0);
    set_forkserver_preload(|| LOADS.store(1, Ordering::Relaxed));
    assert_eq!([loads(), loads()], [1, 1]);
    set_forkserver_preload(|| LOADS.store(2, Ordering::Relaxed));
    assert_eq!([loads(), loads()], [2, 2]);
    eventually("one fork server is left", || {
        testing::fork_servers().len() == 1
    });
}
