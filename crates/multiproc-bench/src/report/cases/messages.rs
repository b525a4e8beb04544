//! Queues and pipes: how many messages a second, and how long one takes there and back.

use super::{Case, Goal, limit, own, part, peer};
use crate::report::case::Rival;

const CHANNELS: &[Rival] = &[
    own("ours-batch"),
    own("ours-thread"),
    peer("crossbeam").at_least(3.0),
    peer("ipc-channel"),
    peer("socketpair"),
    peer("cpython"),
    limit("ring"),
];

pub(super) const ONE_WAY: &[Case] = &[
    Case::rate("queue 64 B, 1 to 1", "oneway --size 64", "msgs_per_s")
        .beside(&[
            part("ours-alone"),
            own("ours-thread"),
            peer("crossbeam").at_least(3.0),
            part("crossbeam-alone"),
            peer("ipc-channel"),
            peer("socketpair"),
            peer("cpython"),
            limit("ring"),
        ])
        .note(
            "`ours-alone` puts 32 and gets them on one thread, {ours-alone:msgs_per_s/1e6} M/s: the work of \
             both sides, a `Vec` made and read, bytes copied in and out, counts raised so that each \
             moment may be the last. Two processors share it between them, so twice that is the most. \
             crossbeam's work is a pointer in a slot ({crossbeam-alone:msgs_per_s/1e6} M/s alone), and \
             moving it between processors takes the rest there. `ring` shows what remains where nothing \
             but the bytes and two counters move.",
        ),
    Case::rate(
        "queue 64 B, 1 to 1, a CPU each",
        "oneway --size 64 --pin split",
        "msgs_per_s",
    )
    .beside(&[peer("crossbeam"), limit("ring")])
    .cpus(2),
    Case::rate(
        "queue 64 B, 2 to 2",
        "oneway --size 64 --producers 2 --consumers 2",
        "msgs_per_s",
    )
    .beside(&[own("ours-batch"), peer("crossbeam").at_least(2.0)]),
    Case::rate(
        "queue 64 B, 32 at a time",
        "oneway --size 64",
        "msgs_per_s",
    )
    .ours("ours-batch")
    .beside(&[own("ours").at_least(2.0), limit("ring")])
    .note(
        "A batch saves the turn at the queue and the wake for all but one. Each message is still a \
         `Vec` of its own, made by one process and by the other, and read and written in full.",
    ),
    Case::rate("queue 1 KiB, 1 to 1", "oneway --size 1024", "msgs_per_s").beside(CHANNELS),
    Case::rate("queue 64 KiB, 1 to 1", "oneway --size 65536", "msgs_per_s").beside(&[
        peer("crossbeam"),
        peer("ipc-channel"),
        peer("cpython"),
        limit("memcpy"),
    ]),
    Case::rate("queue 1 MiB, 1 to 1", "oneway --size 1048576", "msgs_per_s").beside(&[
        limit("memcpy").at_least(0.5),
        peer("crossbeam"),
        peer("ipc-channel"),
        peer("cpython"),
    ]),
    Case::rate("queue 64 MiB, 1 to 1", "oneway --size 67108864", "msgs_per_s")
        .shown("/s", 1.0)
        .beside(&[
            limit("memcpy").at_least(0.5),
            part("clone"),
            peer("crossbeam"),
            peer("ipc-channel"),
        ])
        .note(
            "`memcpy` copies into a place that is there. Here each side has a new `Vec`, of pages that \
             the kernel zeroes and maps one by one and takes back at the end: `clone` makes one, copies \
             it into another, and reads that, on one thread and with no queue.",
        ),
    Case::amount("peak memory of a message of 64 MiB", "peak --size 67108864", "over_payload")
        .shown("times it", 1.0)
        .asked(Goal::AtMost(2.2))
        .note(
            "Of sender, receiver and what is shared, together, looked at all the time; the payload \
             itself is one of it.",
        ),
    Case::rate("pipe 64 B, one way", "oneway --size 64", "msgs_per_s")
        .ours("ours-pipe")
        .beside(&[
            own("ours-view"),
            own("ours"),
            peer("socketpair").at_least(20.0),
            limit("ring"),
        ])
        .note(
            "`ours-view` lends its bytes and has them written into a buffer it lends: no `Vec` is made. \
             `ours` is a queue. `ring` is memory and two counters with nothing above them, and nobody \
             ever sleeps: {ring:msgs_per_s/1e6} M/s beside the {socketpair:msgs_per_s/1e6} M/s of the sockets is \
             what the machine has to give for messages made and read one by one.",
        ),
];

pub(super) const ROUND_TRIPS: &[Case] = &[
    Case::micros(
        "pipe 8 B, there and back, awake",
        "pingpong --pin split",
        "rtt_p50",
    )
    .beside(&[
        own("ours-view"),
        own("ours-queue"),
        limit("spin-futex").at_most(2.0),
        peer("ipc-channel"),
        peer("socketpair"),
    ])
    .cpus(2)
    .note(
        "`spin-futex` is one cache line each way and nothing else, {spin-futex:rtt_p50} ns. A message of \
             a pipe is a record in a ring: the record, how far it is written, how far it is read and who \
             sleeps are lines of their own, which move as well. `ours-view` is the same pipe without \
             values, {ours-view:rtt_p50} ns: what values cost is little.",
    ),
    Case::micros(
        "pipe 8 B, there and back, asleep",
        "pingpong --pin same",
        "rtt_p50",
    )
    .beside(&[
        limit("futex").at_most(1.2),
        peer("ipc-channel"),
        peer("socketpair"),
    ])
    .note(
        "Both on one processor: each sleeps while the other runs. With `perf`, two thirds of our time are \
         the kernel's, for the same two wakes and two sleeps as `futex` has; a third, half a microsecond for \
         each message, is a look before each sleep, the value, its record and the bell.",
    ),
];
