//! What tasks do to their workers, and what comes of it: each task is answered, and the pool goes on.

mod common;

use std::time::{Duration, Instant};

use common::{Chance, alive, chaos, eventually, kill, kill_me, times, within_a_minute};
use multiproc_pool::{Pool, TaskErrorKind};
use multiproc_process::Process;
use multiproc_sync::Value;
use multiproc_wire::Bytes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};

fn value() -> Value<u32> {
    Value::new(0).unwrap()
}

#[test]
fn fault_01_from_death_to_error() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let mut chance = Chance::new(7);
        let mut times = Vec::new();
        for _ in 0..100 * chaos() {
            let begun = value();
            let waits = |begun: Value<u32>| {
                begun.set(std::process::id());
                std::thread::sleep(Duration::from_secs(600));
            };
            let other = pool.apply_async(|n: u32| n + 1, 1);
            let doomed = pool.apply_async(waits, begun.clone());
            eventually("it is begun", || begun.get() != 0);
            std::thread::sleep(Duration::from_micros(chance.below(2_000)));
            let killed = Instant::now();
            kill(begun.get());
            let error = doomed.get().unwrap_err();
            times.push(killed.elapsed());
            let TaskErrorKind::WorkerLost {
                pid, signal, oom, ..
            } = error.kind()
            else {
                panic!("another kind: {error}");
            };
            assert_eq!((*pid, *signal, *oom), (begun.get(), Some(9), false));
            assert_eq!(error.attempts(), 1);
            assert_eq!(other.get().unwrap(), 2);
        }
        times.sort_unstable();
        let at = |percent| times[(times.len() - 1) * percent / 100];
        println!("from death to error: median {:?}, p99 {:?}", at(50), at(99));
    });
}

#[test]
fn fault_02_each_signal_is_named() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let fatal = |signal: i32| {
            // A core dump would only take time.
            let (_, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
            setrlimit(Resource::RLIMIT_CORE, 0, most).unwrap();
            raise(Signal::try_from(signal).unwrap()).unwrap();
            std::thread::sleep(Duration::from_secs(600));
        };
        for round in 0..times(20, 500) {
            for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS] {
                let error = pool.apply(fatal, signal as i32).unwrap_err();
                let TaskErrorKind::WorkerLost { signal: named, .. } = error.kind() else {
                    panic!("{round}: another kind: {error}");
                };
                assert_eq!(*named, Some(signal as i32));
                assert!(error.to_string().contains(signal.as_str()), "{error}");
            }
        }
        assert_eq!(pool.apply(|n: u8| n, 1).unwrap(), 1);
    });
}

#[test]
fn fault_02_the_last_words_come_with_the_error() {
    within_a_minute(|| {
        let pool = Pool::builder().workers(2).capture_stderr(true);
        let pool = pool.build().unwrap();
        let says = |words: String| -> () {
            // Past the test harness, which would keep it.
            let mut stderr = std::io::stderr();
            std::io::Write::write_all(&mut stderr, words.as_bytes()).unwrap();
            std::process::abort()
        };
        let words = |text: String| {
            let error = pool.apply(says, text).unwrap_err();
            let TaskErrorKind::WorkerLost { stderr, .. } = error.kind() else {
                panic!("another kind: {error}");
            };
            assert!(error.to_string().ends_with(stderr.trim_end()), "{error}");
            stderr.clone()
        };
        for n in 0..5 * chaos() {
            let text = format!("something is wrong with {n}\n");
            assert_eq!(words(text.clone()), text);
        }
        // More than a pipe holds: it is passed on meanwhile, and the last is kept.
        let long = "and so on\n".repeat(20_000);
        let last = words(long.clone());
        assert_eq!(last.len(), 4 << 10);
        assert!(long.ends_with(&last));
        assert_eq!(pool.apply(|n: u8| n, 1).unwrap(), 1);
    });
}

#[test]
fn fault_04_a_panic_is_an_error_and_the_worker_lives() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let panics = |n: u32| -> u32 {
            std::panic::set_hook(Box::new(|_| ()));
            panic!("this is number {n}")
        };
        let pid = pool.call(std::process::id).unwrap();
        for n in 0..50 * chaos() {
            // It also replaces the hook that knows where it was.
            let error = pool.apply(panics, n).unwrap_err();
            let TaskErrorKind::Panicked { message, .. } = error.kind() else {
                panic!("another kind: {error}");
            };
            assert_eq!(*message, format!("this is number {n}"));
        }
        assert_eq!(pool.call(std::process::id).unwrap(), pid);
    });
}

#[test]
fn fault_06_a_large_result_is_whole_or_lost() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let mut chance = Chance::new(11);
        let mut lost = 0;
        let make = |(size, seed): (usize, u8)| Bytes::from(vec![seed; size]);
        // Beside the ring and in it.
        for size in [16 << 20, 8_000] {
            for round in 0..times(15, 2_500) {
                let seed = round as u8;
                let items = vec![(size, seed); 6];
                let outcomes = std::thread::scope(|scope| {
                    let map = scope.spawn(|| pool.map_each(make, items));
                    for _ in 0..2 {
                        std::thread::sleep(Duration::from_micros(chance.below(15_000)));
                        let stats = pool.stats();
                        let worked = stats.workers.iter().find(|it| it.tasks_done > 0);
                        if let Some(pid) = worked.and_then(|worker| worker.pid) {
                            kill(pid);
                        }
                    }
                    map.join().unwrap()
                });
                assert_eq!(outcomes.len(), 6);
                for outcome in outcomes {
                    match outcome {
                        Ok(bytes) => {
                            assert!(bytes.len() == size && bytes.iter().all(|it| *it == seed));
                        }
                        Err(error) => {
                            assert!(error.is_worker_lost(), "{error}");
                            lost += 1;
                        }
                    }
                }
            }
        }
        println!("{lost} lost");
    });
}

#[test]
fn fault_12_what_a_dead_task_started() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        pool.map(|n: u8| n, [1]).unwrap();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..times(3, 50) {
            let (ours, theirs) = (value(), value());
            let starts = |(ours, theirs): (Value<u32>, Value<u32>)| -> () {
                let nap = |()| std::thread::sleep(Duration::from_secs(600));
                let child = Process::new(nap, ()).start().unwrap();
                ours.set(child.pid());
                let foreign = std::process::Command::new("sleep").arg("600").spawn();
                theirs.set(foreign.unwrap().id());
                kill_me()
            };
            let error = pool
                .apply(starts, (ours.clone(), theirs.clone()))
                .unwrap_err();
            assert!(error.is_worker_lost(), "{error}");
            eventually("a child of ours is gone", || {
                alive(&[ours.get()]).is_empty()
            });
            assert_eq!(pool.apply(|n: u8| n, 1).unwrap(), 1);
            // The other is the task's own business, and holds nothing of the pool.
            kill(theirs.get());
        }
        eventually("as many open files as before", || open() <= before + 8);
    });
}

#[test]
fn a_task_that_closes_every_file_harms_only_itself() {
    within_a_minute(|| {
        let pool = Pool::new(1).unwrap();
        let closes = |()| {
            for fd in 3..1024 {
                let _ = nix::unistd::close(fd);
            }
            std::process::id()
        };
        let pid = pool.apply(closes, ()).unwrap();
        assert_eq!(pool.call(std::process::id).unwrap(), pid, "it works on");
        // Large results need one of the files. The first says so, then the worker is replaced.
        let large = |n: usize| vec![1_u8; n];
        if let Err(error) = pool.apply(large, 1 << 20) {
            assert!(error.is_no_space(), "{error}");
        }
        assert_eq!(pool.apply(large, 1 << 20).unwrap().len(), 1 << 20);
    });
}

#[test]
fn fault_41_results_of_all_sizes() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        let mut sizes = vec![0, 1, 8_191, 8_192, 8_193, 65_535, 65_536, 65_537, 1 << 24];
        if chaos() > 1 {
            sizes.push(1 << 30);
        }
        for size in sizes {
            let sent = Bytes::from(vec![0xA5; size]);
            let back = pool.apply(|bytes: Bytes| bytes, sent).unwrap();
            assert!(back.len() == size && back.iter().all(|byte| *byte == 0xA5));
        }
    });
}

#[test]
fn a_million_tasks_wait_without_a_descriptor() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        pool.map(|n: u64| n, 0..1000).unwrap();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (before, memory) = (open(), own_memory());
        let tasks = 50_000 * u64::from(chaos().min(20));
        let begun = Instant::now();
        let results: Vec<_> = (0..tasks)
            .map(|n| pool.apply_async(|n: u64| n, n))
            .collect();
        let handed = begun.elapsed();
        assert!(open() <= before + 8, "other tests run beside this one");
        let used = own_memory().saturating_sub(memory) / tasks;
        for (n, result) in (0..).zip(&results) {
            assert_eq!(result.get().unwrap(), n);
        }
        println!("{tasks} tasks handed in within {handed:?}, {used} bytes each");
        println!("and answered after {:?}", begun.elapsed());
    });
}

fn own_memory() -> u64 {
    multiproc_sys::usage::private_memory(std::process::id()).unwrap()
}
