//! A child that is stopped while it takes its seat, and goes on when everybody has given up on it: its
//! parent has died, others have buried the seat, and the slot is another member's.
//!
//! The child is brought to an instruction by ptrace, a sample of them by default, and every one under `CHAOS=n`.

use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Counters, Forked, alone, until};
use multiproc_shm::{MemberId, family};
use multiproc_sys::testing::steps::{self, Trace};
use multiproc_sys::{liveness, testing as raw};

/// How many instructions are tried by default.
const SAMPLE: usize = 60;

/// Instructions between the seat and the second mark, at most.
const AFTERWARDS: usize = 100;

/// What a child ends with that has found its seat gone.
const GONE: i32 = 7;

fn slot(id: MemberId) -> u32 {
    id.bits() as u32
}

/// Takes its seat between the marks, or, if it is to be late, goes on after the first without the other.
fn child(late: bool) -> Forked {
    testing::fork_unseated(|id| {
        steps::begin();
        let taken = family::take_seat(id);
        if late {
            raw::exit_now(if taken.is_ok() { 0 } else { GONE });
        }
        steps::end();
    })
}

fn traced() -> Trace {
    let child = child(false);
    let trace = steps::trace(child.pid).expect("a child that takes its seat");
    child.kill();
    trace
}

/// Makes sure that the next seat is in this slot, which is free.
fn come_round_to(wanted: u32) {
    let next = || slot(family::reserve("in between").expect("a seat").id());
    let mut before = next();
    loop {
        match next() {
            this if this == wanted => break,
            this => before = this,
        }
    }
    while next() != before {}
}

fn ended_well(child: &Forked) -> bool {
    until(|| liveness::has_ended(child.pid), "the child's end");
    raw::wait(child.pid).expect("our child")
}

/// One child that is late by the rest of `take_seat` after `at` instructions.
fn late(trace: &Trace, at: usize, next_is_there_first: bool) {
    let child = child(true);
    steps::advance(child.pid, trace, at).expect("a child that takes its seat");
    let was_there = family::is_alive(child.id);
    family::sweep_now(child.id);
    come_round_to(slot(child.id));

    let stage = Counters::new(2);
    let next = testing::fork_unseated(|id| {
        family::take_seat(id).expect("the seat is ours");
        stage.set(0, 1);
        stage.reached(1, 1);
    });
    assert_eq!(slot(next.id), slot(child.id));
    // Where the late one holds the life word, the next waits for it to go on; so it is a moment only.
    let moment = Instant::now() + Duration::from_millis(20);
    while next_is_there_first && stage.get(0) == 0 && Instant::now() < moment {
        std::thread::yield_now();
    }
    steps::go_on(child.pid).expect("it is stopped");
    assert_eq!(ended_well(&child), was_there, "after {at} instructions");
    stage.reached(0, 1);
    assert!(family::is_alive(next.id), "after {at} instructions");
    assert_eq!(family::pid_of(next.id), Some(next.pid));
    stage.set(1, 1);
    assert!(next.join());
    testing::audit().expect("nothing contradicts itself");
}

#[test]
fn a_late_child_ends_and_does_not_speak_for_the_slots_next_member() {
    alone(|| {
        if let Some(why) = steps::refusal() {
            return println!("left out, as {why}");
        }
        // So many that slots are used again, and their ledger blocks are there.
        (0..70).for_each(|_| assert!(testing::fork(|| {}).join()));
        let trace = traced();
        let all = std::env::var_os("CHAOS").is_some();
        let stride = if all { 1 } else { trace.len().div_ceil(SAMPLE) };
        let offset = Chance::new().below(stride as u64) as usize;
        // The last instructions come after the seat is taken; a child that is late does not run them.
        let last = trace.len().saturating_sub(AFTERWARDS);
        let points: Vec<usize> = (offset..last).step_by(stride).collect();
        println!("{} of {} instructions", points.len(), trace.len());
        for (turn, at) in points.into_iter().enumerate() {
            late(&trace, at, turn % 2 == 0);
        }
    });
}
