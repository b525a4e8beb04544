//! Members killed after each number of instructions of an operation, and what the survivors find.
//!
//! After every kill the dead member is swept, the arena audited, and its use compared with before.
//! With `CHAOS=n` every instruction is a kill point (build with `--release`: a tenth as many), up to
//! 20,000 for one operation; otherwise a sample that fits the time, with a printed stride and offset. `SEED=n` repeats a
//! sample's offset, and `STEP=n` kills at that one instruction of every operation.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use multiproc_sys::testing::steps::{self, Reached, Trace};

use super::{Counters, Forked, audit, fork};
use crate::family;

/// What an operation's kills may take, unless every instruction is one.
const SAMPLE_TIME: Duration = Duration::from_millis(250);

/// More kills than this of one operation only repeat what a loop in it does.
const MOST_KILLS: usize = 20_000;

/// No kill and check takes so long unless somebody hangs.
const HANG: Duration = Duration::from_secs(60);

/// Kills a child at each instruction of an operation (or a sample), and calls `survive`.
///
/// `start` forks a member that calls [`steps::begin`] and [`steps::end`] around the operation.
/// `survive` uses the objects the dead member used, and gives back what `start` made.
///
/// # Panics
///
/// If a survivor finds something wrong; the text names the operation and the instruction.
pub fn kill_at_each(operation: &str, start: impl FnMut() -> Forked, survive: impl FnMut(Reached)) {
    if let Some(why) = steps::refusal() {
        return println!("{operation}: left out, as {why}");
    }
    let alive = watch(operation);
    let mut kills = Kills {
        operation,
        start,
        survive,
        alive,
    };
    let trace = kills.trace();
    if let Some(at) = number("STEP") {
        return kills.kill_at(&trace, at as usize);
    }
    let (offset, stride) = if std::env::var_os("CHAOS").is_some() {
        (1, trace.len().div_ceil(MOST_KILLS))
    } else {
        let began = Instant::now();
        (1..4).for_each(|part| kills.kill_at(&trace, trace.len() * part / 4));
        let fit = SAMPLE_TIME.as_nanos() * 3 / began.elapsed().as_nanos().max(1);
        let stride = trace.len().div_ceil(fit.max(4) as usize).max(1);
        let seed = number("SEED").unwrap_or_else(multiproc_sys::random::u64);
        (1 + seed as usize % stride, stride)
    };
    let points: Vec<usize> = (offset..=trace.len()).step_by(stride).collect();
    println!(
        "{operation}: {} instructions, killed after {} counts: every {stride} from {offset} on",
        trace.len(),
        points.len()
    );
    points.into_iter().for_each(|at| kills.kill_at(&trace, at));
}

/// A member that does `operation` between the marks, and holds what it returns until it is killed or
/// comes to its end.
pub fn stepped<R>(operation: impl FnOnce() -> R) -> Forked {
    fork(|| {
        steps::begin();
        let held = operation();
        steps::end();
        drop(held);
    })
}

/// As [`stepped`], with what `prepare` returns, which has been done when this returns.
pub fn stepped_after<P, R>(prepare: impl FnOnce() -> P, operation: impl FnOnce(P) -> R) -> Forked {
    let prepared = Counters::new(1);
    let member = fork(|| {
        let with = prepare();
        prepared.set(0, 1);
        steps::begin();
        let held = operation(with);
        steps::end();
        drop(held);
    });
    prepared.reached(0, 1);
    member
}

struct Kills<'a, Start, Survive> {
    operation: &'a str,
    start: Start,
    survive: Survive,
    /// Told of every kill that everybody has survived.
    alive: mpsc::Sender<()>,
}

impl<Start: FnMut() -> Forked, Survive: FnMut(Reached)> Kills<'_, Start, Survive> {
    /// One kill at the end, on the way to which all instructions are seen.
    fn trace(&mut self) -> Trace {
        let mut trace = None;
        let operation = self.operation;
        self.kill(|pid| {
            trace = Some(steps::trace(pid).unwrap_or_else(|what| panic!("{operation}: {what}")));
            Reached::End
        });
        trace.expect("just traced")
    }

    fn kill_at(&mut self, trace: &Trace, at: usize) {
        let operation = self.operation;
        self.kill(|pid| {
            steps::advance(pid, trace, at)
                .unwrap_or_else(|what| panic!("{operation}, instruction {at}: {what}"))
        });
    }

    fn kill(&mut self, lead: impl FnOnce(u32) -> Reached) {
        let used = family::usage().map(|usage| usage.used);
        let member = (self.start)();
        let reached = lead(member.pid);
        member.kill();
        self.check("after the kill", reached, audit());
        (self.survive)(reached);
        self.check("after the survivor's turn", reached, audit());
        let now = family::usage().map(|usage| usage.used);
        if now != used {
            let what = format!("{used:?} bytes were used before, and {now:?} are now");
            self.check("at the end", reached, Err(what));
        }
        let _watcher_gone = self.alive.send(());
    }

    fn check(&self, when: &str, reached: Reached, answer: Result<(), String>) {
        if let Err(what) = answer {
            panic!(
                "{}, killed {}, {when}: {what}",
                self.operation,
                place(reached)
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// For messages: where a member was killed.
pub fn place(reached: Reached) -> String {
    match reached {
        Reached::Inside(address) => format!("before {}", steps::describe(address)),
        Reached::End => "at the end".into(),
    }
}

/// Ends this process if nothing is sent for long: somebody waits for the dead.
fn watch(operation: &str) -> mpsc::Sender<()> {
    let (alive, beats) = mpsc::channel();
    let operation = operation.to_owned();
    std::thread::spawn(move || {
        loop {
            match beats.recv_timeout(HANG) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{operation}: nothing has moved for {HANG:?}");
                    std::process::abort();
                }
            }
        }
    });
    alive
}
