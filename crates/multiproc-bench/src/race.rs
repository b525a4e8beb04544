//! `contended`, `readers`: processes that want the same lock, all the time.
//!
//! `contended`: under the lock, a counter is raised by a plain load and store, so that a lock that
//! keeps nobody out shows as lost updates. The rival is the smallest futex lock: free, held, held with
//! somebody asleep. `readers`: an `RwLock` that nobody writes, read by `procs` processes; `alone` is
//! one of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Lock, Process, RwLock};

use crate::args::Args;
use crate::{Outcome, raw};

/// Which word of the shared ones, each on its own pair of cache lines.
const READY: usize = 0;
const COUNTER: usize = 32;
const LOCK: usize = 64;

/// How many turns go by between two looks at the clock.
const TURNS: u64 = 256;

/// What all share.
type Words = &'static [AtomicU32];

/// One turn at the lock.
trait Turn: Fn() + Clone + Send + 'static {}

impl<F: Fn() + Clone + Send + 'static> Turn for F {}

pub(crate) fn run(args: &Args) -> Outcome {
    let words = raw::shared_words(96)?;
    let raise = move || {
        let now = words[COUNTER].load(Ordering::Relaxed);
        words[COUNTER].store(now + 1, Ordering::Relaxed);
    };
    let procs = args.number("procs", 2);
    match (args.bench.as_str(), args.imp.as_str()) {
        ("contended", "ours" | "ours-thread") => {
            let lock = Lock::new()?;
            let turn = move || {
                let _guard = lock.acquire().expect("nobody dies");
                raise();
            };
            match args.imp.as_str() {
                "ours" => race(args, words, procs, turn),
                _ => threads(args, words, procs, turn),
            }
        }
        ("contended", "futex") => race(args, words, procs, move || {
            lock_word(&words[LOCK]);
            raise();
            unlock_word(&words[LOCK]);
        }),
        ("readers", "ours") => readers(args, words, procs),
        ("readers", "alone") => readers(args, words, 1),
        ("readers", _) => args.unsupported("ours, alone"),
        _ => args.unsupported("ours, ours-thread, futex"),
    }
}

fn readers(args: &Args, words: Words, procs: u64) -> Outcome {
    let lock = RwLock::new(1u64)?;
    let turn = move || assert_eq!(*lock.read().expect("nobody dies"), 1);
    race(args, words, procs, turn)
}

/// `procs` processes take turns for `ms`, which each of them measures for itself.
fn race(args: &Args, words: Words, procs: u64, turn: impl Turn) -> Outcome {
    let racer = racer(args, words, procs, turn);
    let start = || Process::fork(racer.clone()).start();
    let racers: Vec<_> = (0..procs).map(|_| start()).collect::<Result<_, _>>()?;
    let ends: Vec<_> = racers.iter().map(Process::join).collect::<Result<_, _>>()?;
    report(args, words, ends);
    Ok(())
}

/// The same with threads of this process.
fn threads(args: &Args, words: Words, procs: u64, turn: impl Turn) -> Outcome {
    let racer = racer(args, words, procs, turn);
    let racers: Vec<_> = (0..procs).map(|_| thread::spawn(racer.clone())).collect();
    let ends = racers
        .into_iter()
        .map(|racer| racer.join().expect("nobody panics"));
    report(args, words, ends.collect());
    Ok(())
}

/// Waits until all are there, and takes turns; how many, in which time.
fn racer(
    args: &Args,
    words: Words,
    procs: u64,
    turn: impl Turn,
) -> impl Fn() -> (u64, Duration) + Clone + Send + 'static {
    let time = Duration::from_millis(args.number("ms", 400));
    move || {
        words[READY].fetch_add(1, Ordering::SeqCst);
        while u64::from(words[READY].load(Ordering::SeqCst)) < procs {
            thread::yield_now();
        }
        let (started, mut turns) = (Instant::now(), 0);
        while started.elapsed() < time {
            (0..TURNS).for_each(|_| turn());
            turns += TURNS;
        }
        (turns, started.elapsed())
    }
}

fn report(args: &Args, words: Words, ends: Vec<(u64, Duration)>) {
    let all: u64 = ends.iter().map(|end| end.0).sum();
    let mut rates: Vec<_> = ends
        .iter()
        .map(|(turns, time)| *turns as f64 / time.as_secs_f64())
        .collect();
    rates.sort_unstable_by(f64::total_cmp);
    args.emit("ops_per_s", rates.iter().sum(), "1/s");
    args.emit("min_over_max", rates[0] / rates[rates.len() - 1], "");
    if args.bench == "contended" {
        let lost = all - u64::from(words[COUNTER].load(Ordering::SeqCst));
        args.emit("lost_updates", lost as f64, "");
        assert_eq!(lost, 0, "the lock let two in");
    }
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const AWAITED: u32 = 2;

fn lock_word(word: &AtomicU32) {
    let taken = word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
    if taken.is_err() {
        while word.swap(AWAITED, Ordering::Acquire) != FREE {
            raw::futex_wait(word, AWAITED);
        }
    }
}

fn unlock_word(word: &AtomicU32) {
    if word.swap(FREE, Ordering::Release) == AWAITED {
        raw::futex_wake(word);
    }
}
