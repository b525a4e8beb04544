//! What a lock and its like cost, alone and between processes.

use super::{Case, Goal, limit, own, peer};

pub(super) const CASES: &[Case] = &[
    Case::nanos("lock and unlock, alone", "lock")
        .beside(&[peer("parking_lot").at_most(1.8), peer("cpython")])
        .note("Linking the word into the kernel's robust list and out again: 5 to 6 ns."),
    Case::rate("lock, two processes at once", "contended", "ops_per_s")
        .beside(&[own("ours-thread"), limit("futex").at_least(1.0)])
        .cpus(2),
    Case::nanos("semaphore, alone", "semaphore")
        .beside(&[own("lock").at_most(4.0)])
        .note("Two locked sections, and the row of who holds the permit."),
    Case::nanos("update of a value, alone", "value").beside(&[own("lock").at_most(2.0)]),
    Case::nanos("a lock made and dropped", "create")
        .asked(Goal::AtMost(1000.0))
        .beside(&[limit("memfd")]),
    Case::rate("readers, two processes at once", "readers", "ops_per_s")
        .beside(&[own("alone").at_least(1.5)])
        .cpus(2),
    Case::micros("barrier, four processes", "barrier", "ns_per_round")
        .beside(&[peer("cpython").at_most(0.2)]),
    Case::micros("event, round trip", "wake", "round_trip_p50")
        .beside(&[limit("futex").at_most(1.2)])
        .cpus(2),
    Case::micros(
        "wait for one of two events",
        "wake --by 1",
        "round_trip_p50",
    )
    .beside(&[limit("futex").at_most(1.2)])
    .cpus(2),
    Case::micros(
        "wait for event or descriptor",
        "wake --by 2",
        "round_trip_p50",
    )
    .beside(&[limit("futex").at_most(2.5)])
    .cpus(2)
    .note(
        "One more hop: a thread of the waiting process turns the wake into a readable descriptor.",
    ),
];
