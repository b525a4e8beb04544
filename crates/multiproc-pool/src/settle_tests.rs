//! Workers that die at each step of the protocol: what the parent makes of it.
//!
//! The workers here are plain forks without a supervisor, so that each test decides who dies where,
//! and who settles it when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use multiproc_process::{ExitStatus, StartMethod};
use multiproc_shm::testing::{self, Forked};
use multiproc_shm::{Kind, Object, family};
use multiproc_sys::child::{PidFd, Signal};
use multiproc_sys::clock::Deadline;
use multiproc_sys::testing as raw;
use multiproc_wire::task::TaskRef;

use crate::book::{Body, Chunk};
use crate::collect::Then;
use crate::crew::{Exit, Plan};
use crate::error::TaskErrorKind;
use crate::feed;
use crate::frame::HEADER;
use crate::hub::Hub;
use crate::job::Job;
use crate::options::Options;
use crate::terms::Terms;
use crate::worker::{self, Seat, Step, Witness};

const KILLED: ExitStatus = ExitStatus::Signal {
    signal: 9,
    core_dumped: false,
};

/// Kills its process when `step` is passed for the `nth` time.
struct Dies {
    step: Step,
    nth: u32,
}

impl Witness for Dies {
    fn at(&mut self, step: Step) {
        if step == self.step {
            self.nth -= 1;
            if self.nth == 0 {
                kill(std::process::id());
            }
        }
    }
}

/// Never dies by itself.
struct Lives;

impl Witness for Lives {
    fn at(&mut self, _: Step) {}
}

fn kill(pid: u32) {
    let process = PidFd::open(pid).expect("it is there");
    process.signal(Signal::Kill).expect("it is ours");
    if pid == std::process::id() {
        loop {
            std::thread::park();
        }
    }
}

fn hub(name: &str, workers: usize) -> Hub {
    Hub::new(Plan {
        name: name.to_owned(),
        workers,
        terms: Terms::default(),
        method: StartMethod::default(),
        start_timeout: None,
        grace: Duration::ZERO,
        keeps_stderr: false,
    })
    .expect("there is memory")
}

fn start(hub: &Hub, slot: usize, witness: impl Witness) -> Forked {
    let _inherited = ledger();
    hub.board.set_ready(slot, false);
    let results = hub.new_results(slot).expect("there is memory");
    let seat = Seat {
        board: hub.board.object().clone(),
        tasks: hub.tasks.object().clone(),
        results: results.object().clone(),
        slot: slot as u32,
        terms: Terms::default(),
    };
    testing::fork(|| worker::work_before(seat, witness).expect("it comes to its tasks"))
}

/// Waits for the end of a worker and does what its reaper does.
fn reap(forked: &Forked) {
    raw::wait(forked.pid).expect("it is ours");
    family::sweep_now(forked.id);
}

/// How often each item was run, in memory that outlives the runner. Forks inherit it.
fn ledger() -> &'static [AtomicU64] {
    static LEDGER: OnceLock<Object> = OnceLock::new();
    let make = || Object::create(Kind::Plain, 1, 1 << 16, |_| ()).expect("there is memory");
    LEDGER.get_or_init(make).words()
}

/// A part of the ledger for one test alone: its first item.
fn items(count: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    assert!(((first + count) as usize) < ledger().len());
    first
}

/// The object is there so that the argument travels in a parcel.
fn run((item, _object): (u64, Option<Object>)) -> u64 {
    ledger()[item as usize].fetch_add(1, Ordering::Relaxed) + 7 * item
}

/// How a test's chunks travel.
#[derive(Clone, Copy, Debug)]
enum By {
    Ring,
    Parcel,
}

/// Hands in `chunks` chunks of `each` items, from item `base` of the ledger on.
fn hand_in(hub: &Hub, base: u64, by: By, chunks: usize, each: usize) -> Arc<Job> {
    hand_in_with(hub, &Options::default(), base, by, chunks, each)
}

fn hand_in_with(
    hub: &Hub,
    options: &Options,
    base: u64,
    by: By,
    chunks: usize,
    each: usize,
) -> Arc<Job> {
    let job = hub.open_job(true, false, options).expect("it is open");
    let task = TaskRef::of(run).expect("a function of this program");
    for chunk in 0..chunks {
        let (mut parcel, mut ends) = (feed::empty_parcel(), Vec::new());
        assert_eq!(parcel.bytes.len(), HEADER);
        for item in chunk * each..(chunk + 1) * each {
            let object = matches!(by, By::Parcel).then(|| hub.board.object().clone());
            let argument = (base + item as u64, object);
            feed::encode(&argument, &mut parcel, true).expect("it travels");
            ends.push(parcel.bytes.len());
        }
        let header = feed::header(&job, task, each as u32, false);
        let body = feed::make_body(header, &mut parcel, &ends).expect("there is memory");
        assert_eq!(matches!(body, Body::Stored(_)), matches!(by, By::Parcel));
        let chunk = Chunk::new(Arc::clone(&job), chunk * each, each as u32, body);
        hub.submit(&mut vec![chunk]).expect("it is open");
    }
    job
}

/// Lets one worker die at the `nth` passing of `step`, another do the rest: how many items were lost.
fn die_at(step: Step, nth: u32) -> usize {
    let lost = die_with(By::Ring, step, nth);
    assert_eq!(lost, die_with(By::Parcel, step, nth), "{step:?} {nth}");
    lost
}

fn die_with(by: By, step: Step, nth: u32) -> usize {
    let hub = hub("settled", 2);
    let base = items(12);
    let job = hand_in(&hub, base, by, 4, 3);
    let dies = start(&hub, 0, Dies { step, nth });
    reap(&dies);
    hub.bury(&Exit::of_process(0, dies.pid, KILLED));
    assert!(hub.board.claim(0).take().is_none(), "it was settled");
    let lives = start(&hub, 1, Lives);
    let deadline = Deadline::after(Duration::from_secs(20));
    let answered = hub.wait(&job, 12, Then::Nothing, deadline);
    kill(lives.pid);
    reap(&lives);
    assert!(answered, "{step:?} {nth}: an item has no answer");
    let batch = job.keep();
    assert_eq!(
        batch.outcomes.len(),
        12,
        "{step:?} {nth}: each has one answer"
    );
    let mut lost = 0;
    for (index, outcome) in batch.outcomes.iter().enumerate() {
        assert_eq!(outcome.index, index);
        let item = base + index as u64;
        let runs = ledger()[item as usize].load(Ordering::Relaxed);
        match batch.read::<u64>(outcome) {
            Ok(value) => assert!(value == 7 * item && runs == 1, "{item} ran {runs} times"),
            Err(error) => {
                assert!(error.is_worker_lost(), "{error}");
                assert!(
                    runs == u64::from(step == Step::Called),
                    "{item} ran {runs} times"
                );
                lost += 1;
            }
        }
    }
    lost
}

#[test]
fn a_death_before_an_item_is_begun_costs_nothing() {
    for step in [
        Step::HeadLocked,
        Step::Claimed,
        Step::HeadMoved,
        Step::Unlocked,
    ] {
        for nth in 1..=4 {
            assert_eq!(die_at(step, nth), 0, "{step:?} {nth}");
        }
    }
}

#[test]
fn a_death_between_begin_and_result_costs_that_item() {
    for step in [Step::Begun, Step::Called] {
        for nth in 1..=12 {
            assert_eq!(die_at(step, nth), 1, "{step:?} {nth}");
        }
    }
}

#[test]
fn a_death_after_the_result_costs_nothing() {
    for step in [Step::Published, Step::Announced] {
        for nth in 1..=12 {
            assert_eq!(die_at(step, nth), 0, "{step:?} {nth}");
        }
    }
}

#[test]
fn the_next_owner_of_the_head_lock_repairs_before_the_supervisor() {
    let hub = hub("repaired", 2);
    let base = items(8);
    let job = hand_in(&hub, base, By::Ring, 8, 1);
    let dies = start(
        &hub,
        0,
        Dies {
            step: Step::Claimed,
            nth: 1,
        },
    );
    reap(&dies);
    // The other worker runs everything before the death is settled.
    let lives = start(&hub, 1, Lives);
    let deadline = Deadline::after(Duration::from_secs(20));
    assert!(hub.wait(&job, 8, Then::Nothing, deadline));
    hub.bury(&Exit::of_process(0, dies.pid, KILLED));
    kill(lives.pid);
    reap(&lives);
    assert!(job.is_successful());
    let runs = &ledger()[base as usize..][..8];
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
}

#[test]
fn what_is_over_is_answered_once() {
    let hub = hub("over", 1);
    let base = items(12);
    let job = hand_in(&hub, base, By::Parcel, 4, 3);
    let dies = start(
        &hub,
        0,
        Dies {
            step: Step::Called,
            nth: 2,
        },
    );
    reap(&dies);
    assert!(hub.end(TaskErrorKind::Cancelled) && !hub.end(TaskErrorKind::TimedOut));
    hub.answer_all();
    hub.bury(&Exit::of_process(0, dies.pid, KILLED));
    let batch = job.keep();
    assert_eq!(batch.outcomes.len(), 12);
    assert_eq!(
        batch
            .read::<u64>(&batch.outcomes[0])
            .expect("it was finished"),
        7 * base
    );
    let rest = &batch.outcomes[1..];
    assert!(rest.iter().all(|it| {
        batch
            .read::<u64>(it)
            .expect_err("it is over")
            .is_cancelled()
    }));
    assert!(
        hub.open_job(true, false, &Options::default())
            .is_err_and(|kind| matches!(kind, TaskErrorKind::Cancelled))
    );
}

#[test]
fn what_is_withdrawn_is_passed_over() {
    let hub = hub("withdrawn", 1);
    let base = items(6);
    let unwanted = hand_in(&hub, base, By::Ring, 4, 1);
    let wanted = hand_in(&hub, base + 4, By::Ring, 2, 1);
    hub.cancel(&unwanted);
    assert!(unwanted.has_reached(4) && unwanted.was_cancelled());
    let lives = start(&hub, 0, Lives);
    let deadline = Deadline::after(Duration::from_secs(20));
    assert!(hub.wait(&wanted, 2, Then::Nothing, deadline));
    kill(lives.pid);
    reap(&lives);
    let runs = &ledger()[base as usize..][..6];
    let runs: Vec<u64> = runs.iter().map(|it| it.load(Ordering::Relaxed)).collect();
    assert_eq!(runs, [0, 0, 0, 0, 1, 1]);
}

#[test]
fn a_death_with_a_withdrawn_chunk_runs_nothing_of_it() {
    for step in [Step::Claimed, Step::HeadMoved, Step::Unlocked, Step::Called] {
        let hub = hub("withdrawn", 2);
        let base = items(2);
        let unwanted = hand_in(&hub, base, By::Ring, 1, 2);
        let dies = start(&hub, 0, Dies { step, nth: 1 });
        reap(&dies);
        hub.cancel(&unwanted);
        hub.bury(&Exit::of_process(0, dies.pid, KILLED));
        assert_eq!(
            unwanted.keep().outcomes.len(),
            2,
            "{step:?}: one answer each"
        );
        let other = hand_in(&hub, items(1), By::Ring, 1, 1);
        let lives = start(&hub, 1, Lives);
        let deadline = Deadline::after(Duration::from_secs(20));
        assert!(hub.wait(&other, 1, Then::Nothing, deadline));
        kill(lives.pid);
        reap(&lives);
        let second = ledger()[base as usize + 1].load(Ordering::Relaxed);
        assert_eq!(second, 0, "{step:?}: begun though withdrawn");
    }
}

#[test]
fn an_idempotent_item_is_begun_again_and_no_other() {
    let hub = hub("retried", 2);
    let base = items(3);
    let options = Options {
        retry: crate::Retry::idempotent(1),
        ..Options::default()
    };
    let job = hand_in_with(&hub, &options, base, By::Ring, 1, 3);
    for (slot, nth) in [(0, 2), (1, 1)] {
        let dies = start(
            &hub,
            slot,
            Dies {
                step: Step::Called,
                nth,
            },
        );
        reap(&dies);
        hub.bury(&Exit::of_process(slot, dies.pid, KILLED));
    }
    let lives = start(&hub, 0, Lives);
    let deadline = Deadline::after(Duration::from_secs(20));
    assert!(hub.wait(&job, 3, Then::Nothing, deadline));
    kill(lives.pid);
    reap(&lives);
    let batch = job.keep();
    let error = batch
        .read::<u64>(&batch.outcomes[1])
        .expect_err("it died twice");
    assert!(error.is_worker_lost() && error.attempts() == 2, "{error:?}");
    let runs = &ledger()[base as usize..][..3];
    let runs: Vec<u64> = runs.iter().map(|it| it.load(Ordering::Relaxed)).collect();
    assert_eq!(runs, [1, 2, 1]);
}

/// The supervisor buries a worker in the middle of a cancellation, which has noted the tickets.
#[test]
fn a_chunk_that_comes_back_while_it_is_cancelled_is_not_begun_again() {
    let hub = hub("cancelled", 1);
    let base = items(4);
    let job = hand_in(&hub, base, By::Ring, 1, 4);
    let step = Step::Published;
    let dies = start(&hub, 0, Dies { step, nth: 1 });
    reap(&dies);
    let tickets = hub.book().withdraw(&job, &hub.board);
    assert_eq!(tickets.len(), 1, "it is with the worker");
    hub.bury(&Exit::of_process(0, dies.pid, KILLED));
    let late = Deadline::after(Duration::from_secs(20));
    assert!(hub.wait(&job, 4, Then::Nothing, late), "all are answered");
    let batch = job.keep();
    for (index, outcome) in batch.outcomes.iter().enumerate() {
        let read = batch.read::<u64>(outcome);
        let runs = ledger()[base as usize + index].load(Ordering::Relaxed);
        assert_eq!(read.is_ok(), index == 0, "{index}: {read:?}");
        assert_eq!(runs, u64::from(index == 0), "{index} was begun");
    }
    assert!(job.was_cancelled());
}
