//! The pool: many small tasks, long ones, large ones, and one made for a hundred.
//!
//! Each implementation has a pool that is there and warm, but for `pool-seed`, which is about making
//! one.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Bytes, Pool, Process};

use crate::args::Args;
use crate::{Outcome, raw};

/// The CPU time of one long task.
const LONG: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &Args) -> Outcome {
    match args.bench.as_str() {
        "pool-trivial" => trivial(args),
        "pool-apply" => apply(args),
        "pool-cpu" => cpu(args),
        "pool-mib" => mib(args),
        _ => seed(args),
    }
}

fn workers(args: &Args) -> usize {
    args.size("workers", multiproc::cpu_count().min(2))
}

fn pool(args: &Args) -> Result<Pool, multiproc::BuildError> {
    Pool::new(workers(args))
}

fn threads(args: &Args) -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers(args));
    let pool = pool.build().expect("threads can be made");
    pool.broadcast(|_| ());
    pool
}

fn report(args: &Args, tasks: u64, time: Duration) {
    let seconds = time.as_secs_f64();
    args.emit("seconds", seconds, "s");
    args.emit("us_per_task", seconds * 1e6 / tasks as f64, "us");
}

fn next(n: u64) -> u64 {
    n + 1
}

/// n -> n + 1, handed in at once (`ours`, beside `rayon`: one spawn for each), or one by one
/// (`--one-by-one 1`).
fn trivial(args: &Args) -> Outcome {
    let tasks = args.number("tasks", 100_000);
    let time = match (args.imp.as_str(), args.number("one-by-one", 0)) {
        ("ours", 0) => {
            let pool = pool(args)?;
            // The first is the warm-up: the workers start, the rings are touched.
            pool.map(next, 0..tasks / 10)?;
            let started = Instant::now();
            let results = pool.map(next, 0..tasks)?;
            let time = started.elapsed();
            assert!(results.into_iter().eq(1..=tasks), "a wrong result");
            time
        }
        ("ours", _) => {
            let pool = pool(args)?;
            let sum = |tasks| -> Result<u64, multiproc::TaskError> {
                pool.imap_unordered(next, 0..tasks).sum()
            };
            sum(tasks / 10)?;
            let started = Instant::now();
            let sum = sum(tasks)?;
            let time = started.elapsed();
            assert_eq!(sum, tasks * (tasks + 1) / 2, "a wrong result");
            time
        }
        ("rayon", _) => {
            let pool = threads(args);
            let mut results = vec![0; tasks as usize];
            let mut run = || {
                pool.scope(|scope| {
                    for (n, place) in (0..).zip(&mut results) {
                        scope.spawn(move |_| *place = black_box(next(n)));
                    }
                });
            };
            run();
            let started = Instant::now();
            run();
            let time = started.elapsed();
            assert!(results.into_iter().eq(1..=tasks), "a wrong result");
            time
        }
        ("procspawn", _) => {
            let pool = procspawn::Pool::new(workers(args))?;
            let run = |tasks: u64| -> Result<(), procspawn::SpawnError> {
                // Each call under way costs it several descriptors.
                for first in (0..tasks).step_by(64) {
                    let some = first..tasks.min(first + 64);
                    let handles: Vec<_> = some.map(|n| pool.spawn(n, next)).collect();
                    for (n, handle) in (first + 1..).zip(handles) {
                        assert_eq!(handle.join()?, n, "a wrong result");
                    }
                }
                Ok(())
            };
            run(tasks / 10)?;
            let started = Instant::now();
            run(tasks)?;
            started.elapsed()
        }
        _ => args.unsupported("ours, rayon, procspawn, cpython"),
    };
    report(args, tasks, time);
    Ok(())
}

/// A lone task: handed in, run, and its result taken; the pool is idle before, and has been for
/// `--pause` microseconds.
fn apply(args: &Args) -> Outcome {
    let (reps, pause) = (args.number("reps", 2_000), args.number("pause", 0));
    let pause = Duration::from_micros(pause);
    let measure = |task: &mut dyn FnMut(u64) -> u64| {
        let mut times = Vec::new();
        for n in 0..reps {
            if !pause.is_zero() {
                thread::sleep(pause);
            }
            let started = Instant::now();
            assert_eq!(task(n), n + 1);
            times.push(started.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2]
    };
    let median = match args.imp.as_str() {
        "ours" => {
            let pool = pool(args)?;
            pool.map(next, 0..100)?;
            measure(&mut |n| pool.apply(next, n).expect("it is answered"))
        }
        "rayon" => {
            let pool = threads(args);
            measure(&mut |n| pool.install(|| black_box(next(n))))
        }
        "procspawn" => {
            let pool = procspawn::Pool::new(workers(args))?;
            measure(&mut |n| pool.spawn(n, next).join().expect("it is answered"))
        }
        "futex" => two_wakes(|ask| measure(&mut |n| ask(n))),
        _ => args.unsupported("ours, rayon, procspawn, cpython, futex"),
    };
    args.emit("apply_p50", median.as_nanos() as f64, "ns");
    Ok(())
}

/// The limit of a lone task: a thread that sleeps on a word, and answers on another.
fn two_wakes(measure: impl FnOnce(&mut dyn FnMut(u64) -> u64) -> Duration) -> Duration {
    let [asked, answered] = [const { AtomicU32::new(0) }; 2];
    let wait = |word: &AtomicU32, seen: u32| {
        while word.load(Ordering::SeqCst) == seen {
            raw::futex_wait(word, seen);
        }
        word.load(Ordering::SeqCst)
    };
    let post = |word: &AtomicU32, value: u32| {
        word.store(value, Ordering::SeqCst);
        raw::futex_wake(word);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0;
            loop {
                seen = wait(&asked, seen);
                post(&answered, seen);
                if seen == u32::MAX {
                    return;
                }
            }
        });
        let mut turn = 0;
        let median = measure(&mut |n| {
            turn += 1;
            post(&asked, turn);
            wait(&answered, turn - 1);
            next(n)
        });
        post(&asked, u32::MAX);
        median
    })
}

/// Keeps a processor busy for as long as it was given one.
fn burn(nanos: u64) -> u64 {
    let begun = cpu_time();
    while cpu_time() - begun < Duration::from_nanos(nanos) {
        black_box((0..1000).fold(0_u64, |sum, n| black_box(sum + n)));
    }
    nanos
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec of ours, valid for a write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Tasks of 50 ms of CPU.
fn cpu(args: &Args) -> Outcome {
    let tasks = args.number("tasks", 64);
    let work = (0..tasks).map(|_| LONG.as_nanos() as u64);
    let time = match args.imp.as_str() {
        "ours" => {
            let pool = pool(args)?;
            pool.map(next, 0..100)?;
            let started = Instant::now();
            pool.map(burn, work)?;
            started.elapsed()
        }
        "rayon" => {
            let pool = threads(args);
            let started = Instant::now();
            pool.scope(|scope| {
                for nanos in work {
                    scope.spawn(move |_| {
                        black_box(burn(nanos));
                    });
                }
            });
            started.elapsed()
        }
        _ => args.unsupported("ours, rayon"),
    };
    let ideal = LONG * tasks as u32 / workers(args) as u32;
    args.emit("over_ideal", time.as_secs_f64() / ideal.as_secs_f64(), "");
    report(args, tasks, time);
    Ok(())
}

/// 1 MiB in, and 1 MiB out.
fn mib(args: &Args) -> Outcome {
    let tasks = args.number("tasks", 200);
    let blocks: Vec<Vec<u8>> = (0..tasks).map(|n| vec![n as u8; 1 << 20]).collect();
    let time = match args.imp.as_str() {
        "ours" => {
            let pool = pool(args)?;
            let same = |block: Bytes| block;
            let items = || blocks.iter().cloned().map(Bytes::from).collect::<Vec<_>>();
            pool.map(same, items().into_iter().take(8))?;
            let items = items();
            let started = Instant::now();
            let results = pool.map(same, items)?;
            let time = started.elapsed();
            assert!(
                results.iter().map(|it| &**it).eq(blocks.iter()),
                "a wrong result"
            );
            time
        }
        "rayon" => {
            use rayon::prelude::*;
            let pool = threads(args);
            let started = Instant::now();
            let results: Vec<Vec<u8>> =
                pool.install(|| blocks.par_iter().map(Clone::clone).collect());
            let time = started.elapsed();
            assert!(results == blocks, "a wrong result");
            time
        }
        _ => args.unsupported("ours, rayon"),
    };
    report(args, tasks, time);
    Ok(())
}

/// A hundred trivial tasks with nothing there: a pool of 5 made for them (`ours`), beside a process for
/// each (`processes`).
fn seed(args: &Args) -> Outcome {
    let tasks = args.number("tasks", 100);
    // The fork server is there: what is measured is the pool's own start.
    Process::new(next, 1).start()?.join()?;
    let started = Instant::now();
    match args.imp.as_str() {
        "ours" => {
            let pool = Pool::new(5)?;
            assert_eq!(pool.map(next, 0..tasks)?.len() as u64, tasks);
            pool.close();
            pool.join()?;
        }
        "processes" => {
            let start = |n| Process::new(next, n).start();
            let processes: Vec<_> = (0..tasks).map(start).collect::<Result<_, _>>()?;
            for process in processes {
                process.join()?;
            }
        }
        _ => args.unsupported("ours, processes"),
    }
    args.emit("seconds", started.elapsed().as_secs_f64(), "s");
    Ok(())
}
