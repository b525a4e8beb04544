//! Processes: from start to joined, one by one and many at a time.

use super::{Case, Goal, limit, own, part, peer};

pub(super) const CASES: &[Case] = &[
    Case::micros(
        "start and join, idle parent",
        "start --reps 200",
        "start_join_p50",
    )
    .beside(&[
        own("ours-spawn"),
        own("ours-fork"),
        limit("raw-fork").at_most(1.5),
        part("raw-fork-pages"),
        peer("procspawn"),
        peer("cpython-fork"),
        peer("cpython-forkserver"),
    ])
    .note(
        "With a number as argument and another as result. A child of ours meets {ours:page_faults} pages \
         for the first time, that of a bare fork {raw-fork:page_faults}; each is 1 to 2 us, and given \
         back at the end: `raw-fork-pages` is a bare fork whose child writes to 40 pages. The rest are \
         two more wakes of an idle processor: that of the fork server's spare child, and that of the parent.",
    ),
    Case::micros(
        "start and join, 2 GiB touched",
        "start --reps 20 --ballast 2048",
        "start_join_p50",
    )
    .beside(&[
        own("ours-plain").at_most(1.2),
        limit("raw-fork").at_most(1.5),
        peer("procspawn"),
        peer("cpython-fork"),
        peer("cpython-forkserver"),
    ])
    .note("`ours-plain` is the same without the 2 GiB."),
    Case::micros(
        "start with an argument of 1 MiB",
        "start --reps 100 --argument 1048576",
        "start_join_p50",
    )
    .beside(&[own("ours-plain").adds_at_most(1000.0)])
    .note("`ours-plain` is the same with a number as argument."),
    Case::rate(
        "starts, 50 at a time",
        "start --batch 50 --reps 20",
        "starts_per_s",
    )
    .shown("k/s", 1e3)
    .asked(Goal::AtLeast(5.0))
    .beside(&[limit("raw-fork").at_least(0.7)])
    .note(
        "All processors are busy, so what counts is processor time: {ours:cpu_us_per_start} us for one of \
         ours, {raw-fork:cpu_us_per_start} us for a bare fork (of the whole machine, in steps of 10 ms).",
    ),
];
