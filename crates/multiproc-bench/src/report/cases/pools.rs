//! Pools: many small tasks, long ones, large ones, and one made for a hundred.

use super::{Case, Goal, limit, own, peer};

pub(super) const CASES: &[Case] = &[
    Case::tasks("100,000 trivial tasks, map", "pool-trivial")
        .asked(Goal::AtMost(0.08))
        .beside(&[peer("rayon").at_most(1.0), peer("cpython")])
        .note(
            "Each number is encoded, decoded, encoded as a result, recorded and decoded: with `perf` on \
             two processors, 34 % of the time is the caller's (arguments out, values back), 28 % the \
             supervisor's, who takes in a record of each item so that a death loses one, and 37 % the \
             workers'. More than half of what the supervisor needs is waiting for lines that a worker has \
             just written.",
        ),
    Case::tasks(
        "10,000 trivial tasks, one by one",
        "pool-trivial --one-by-one 1 --tasks 10000",
    )
    .asked(Goal::AtMost(0.6))
    .beside(&[
        peer("rayon").at_most(1.0),
        peer("procspawn"),
        peer("cpython"),
    ]),
    Case::tasks(
        "100,000 trivial tasks, one by one",
        "pool-trivial --one-by-one 1",
    )
    .asked(Goal::AtMost(0.6))
    .beside(&[peer("rayon").at_most(1.0), peer("cpython")]),
    Case::tasks("200 tasks, 1 MiB in and out", "pool-mib").beside(&[peer("rayon").at_most(1.5), peer("cpython")]),
    Case::amount("64 tasks of 50 ms of CPU", "pool-cpu", "over_ideal")
        .shown("times ideal", 1.0)
        .asked(Goal::AtMost(1.02))
        .beside(&[peer("rayon"), peer("cpython")]),
    Case::micros(
        "a lone task, awake, one worker",
        "pool-apply --workers 1",
        "apply_p50",
    )
    .asked(Goal::AtMost(2.0))
    .beside(&[
        peer("rayon"),
        peer("procspawn"),
        peer("cpython"),
        limit("futex"),
    ])
    .cpus(2),
    Case::micros("a lone task, awake", "pool-apply", "apply_p50")
        .asked(Goal::AtMost(2.0))
        .beside(&[peer("rayon"), limit("futex")])
        .cpus(2),
    Case::micros(
        "a lone task after 2 ms of rest",
        "pool-apply --pause 2000 --reps 500",
        "apply_p50",
    )
    .asked(Goal::AtMost(20.0))
    .beside(&[peer("rayon"), limit("futex")])
    .note(
        "Two wakes: that of the worker, and that of the caller. `futex` is those two alone: a thread \
         that sleeps on a word, answers on another, and does nothing.",
    ),
    Case::amount("a pool of 5 made for 100 tasks", "pool-seed", "seconds")
        .shown("ms", 1e-3)
        .asked(Goal::AtMost(10.0))
        .beside(&[own("processes").at_most(0.25), peer("cpython")])
        .note("`processes` has a process for each task, the fork server being there."),
    Case::amount("100 processes for 100 tasks", "pool-seed", "seconds")
        .shown("ms", 1e-3)
        .ours("processes")
        .asked(Goal::AtMost(40.0)),
    Case::amount("wakes of an idle pool", "pool-idle", "wakes_per_s")
        .shown("/s, each", 1.0)
        .asked(Goal::AtMost(1.0))
        .note("The process that is woken most, of two workers, the caller and those who help them."),
];
