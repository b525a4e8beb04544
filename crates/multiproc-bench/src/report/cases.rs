//! What is compared with what, and what the ratio is held to.

/// Cases that belong together.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) cases: &'static [Case],
}

/// One measurement, made by several implementations.
pub(super) struct Case {
    pub(super) title: &'static str,
    /// The bench and its parameters.
    pub(super) call: &'static str,
    /// More implementations of ours than `ours`.
    pub(super) variants: &'static [&'static str],
    pub(super) rivals: &'static [Rival],
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    /// What the metric is divided by to be shown in `unit`.
    pub(super) scale: f64,
    /// Where the rest goes, found with a profile.
    pub(super) note: &'static str,
}

pub(super) struct Rival {
    pub(super) imp: &'static str,
    /// What ours divided by the rival's is held to.
    pub(super) goal: Option<Goal>,
}

#[derive(Clone, Copy)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(super) fn is_met(self, ratio: f64) -> bool {
        match self {
            Goal::AtMost(most) => ratio <= most,
            Goal::AtLeast(least) => ratio >= least,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Goal::AtMost(most) => write!(f, "<= {most}"),
            Goal::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

impl Case {
    /// Ours first, then our variants, then the rivals.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'static str> {
        let rivals = self.rivals.iter().map(|rival| rival.imp);
        std::iter::once("ours")
            .chain(self.variants.iter().copied())
            .chain(rivals)
    }

    /// What ours is held to beside `imp`.
    pub(super) fn goal(&self, imp: &str) -> Option<Goal> {
        self.rivals.iter().find(|rival| rival.imp == imp)?.goal
    }
}

const fn at_most(imp: &'static str, most: f64) -> Rival {
    Rival {
        imp,
        goal: Some(Goal::AtMost(most)),
    }
}

const fn at_least(imp: &'static str, least: f64) -> Rival {
    Rival {
        imp,
        goal: Some(Goal::AtLeast(least)),
    }
}

const fn beside(imp: &'static str) -> Rival {
    Rival { imp, goal: None }
}

impl Case {
    const fn times(
        title: &'static str,
        call: &'static str,
        metric: &'static str,
        rivals: &'static [Rival],
    ) -> Case {
        Case {
            title,
            call,
            variants: &[],
            rivals,
            metric,
            unit: "us",
            scale: 1e3,
            note: "",
        }
    }

    const fn nanos(title: &'static str, call: &'static str, rivals: &'static [Rival]) -> Case {
        Case {
            title,
            call,
            variants: &[],
            rivals,
            metric: "ns_per_op",
            unit: "ns",
            scale: 1.0,
            note: "",
        }
    }

    const fn rate(
        title: &'static str,
        call: &'static str,
        metric: &'static str,
        rivals: &'static [Rival],
    ) -> Case {
        Case {
            title,
            call,
            variants: &[],
            rivals,
            metric,
            unit: "M/s",
            scale: 1e6,
            note: "",
        }
    }

    const fn also(self, variants: &'static [&'static str]) -> Case {
        Case { variants, ..self }
    }

    const fn note(self, note: &'static str) -> Case {
        Case { note, ..self }
    }
}

pub(super) const GROUPS: &[Group] = &[
    Group {
        title: "Starting a process",
        cases: STARTS,
    },
    Group {
        title: "Locks and events",
        cases: LOCKS,
    },
    Group {
        title: "Messages, one way",
        cases: MESSAGES,
    },
    Group {
        title: "A map in another process",
        cases: MANAGERS,
    },
    Group {
        title: "Pools",
        cases: POOLS,
    },
];

const STARTS: &[Case] = &[
    Case::times(
        "start and join, idle parent",
        "start --reps 200",
        "start_join_p50",
        &[at_most("raw-fork", 1.5), beside("procspawn"), beside("cpython-fork"), beside("cpython-forkserver")],
    )
    .also(&["ours-spawn"])
    .note("The child meets 45 to 60 pages for the first time, 2 µs each, and gives them back at its end: the more code a program has, the further apart lies what a start runs through. Waking an idle processor is in it twice."),
    Case::times(
        "start and join, 2 GiB touched",
        "start --reps 20 --ballast 2048",
        "start_join_p50",
        &[beside("raw-fork"), beside("procspawn"), beside("cpython-fork"), beside("cpython-forkserver")],
    ),    Case {
        unit: "k/s",
        scale: 1e3,
        ..Case::rate(
            "starts, 50 at a time",
            "start --batch 50 --reps 20",
            "starts_per_s",
            &[at_least("raw-fork", 0.7)],
        )
    }
    .note("A child takes about three times the processor time of a bare fork, which counts where all processors are busy."),
];

const LOCKS: &[Case] = &[
    Case::nanos(
        "lock and unlock, alone",
        "lock",
        &[at_most("parking_lot", 1.8), beside("cpython")],
    )
    .note("Linking the word into the kernel's robust list and out again: 5 to 6 ns."),
    Case::rate(
        "lock, two processes at once",
        "contended",
        "ops_per_s",
        &[at_least("futex", 1.0)],
    ),
    Case::nanos("semaphore, alone", "semaphore", &[at_most("lock", 4.0)])
        .note("Two locked sections, and the row of who holds the permit."),
    Case::nanos("update of a value, alone", "value", &[at_most("lock", 2.0)]),
    Case::nanos(
        "a lock made and dropped",
        "create",
        &[at_most("memfd", 0.15)],
    ),
    Case::rate(
        "readers, two processes at once",
        "readers",
        "ops_per_s",
        &[at_least("alone", 1.5)],
    ),
    Case::times(
        "barrier, four processes",
        "barrier",
        "ns_per_round",
        &[at_most("cpython", 0.2)],
    ),
    Case::times(
        "event, round trip",
        "wake",
        "round_trip_p50",
        &[at_most("futex", 1.2)],
    ),
    Case::times(
        "wait for one of two events",
        "wake --by 1",
        "round_trip_p50",
        &[at_most("futex", 1.2)],
    ),
    Case::times(
        "wait for event or descriptor",
        "wake --by 2",
        "round_trip_p50",
        &[at_most("futex", 2.5)],
    )
    .note(
        "One more hop: a thread of the waiting process turns the wake into a readable descriptor.",
    ),
];

const MESSAGES: &[Case] = &[
    Case::rate(
        "queue 64 B, 1 to 1",
        "oneway --size 64",
        "msgs_per_s",
        CHANNELS_3,
    )
    .also(&["ours-batch"])
    .note("Moving cache lines between two cores; `--pin split` shows it alone."),
    Case::rate(
        "queue 64 B, 1 to 1, a CPU each",
        "oneway --size 64 --pin split",
        "msgs_per_s",
        &[beside("crossbeam")],
    ),
    Case::rate(
        "queue 64 B, 2 to 2",
        "oneway --size 64 --producers 2 --consumers 2",
        "msgs_per_s",
        &[at_least("crossbeam", 2.0)],
    )
    .also(&["ours-batch"]),
    Case::rate(
        "queue 1 KiB, 1 to 1",
        "oneway --size 1024",
        "msgs_per_s",
        CHANNELS_3,
    )
    .also(&["ours-batch"]),
    Case::rate(
        "queue 64 KiB, 1 to 1",
        "oneway --size 65536",
        "msgs_per_s",
        &[
            beside("crossbeam"),
            beside("ipc-channel"),
            beside("cpython"),
        ],
    ),
    Case::rate(
        "queue 1 MiB, 1 to 1",
        "oneway --size 1048576",
        "msgs_per_s",
        &[
            at_least("memcpy", 0.5),
            beside("crossbeam"),
            beside("ipc-channel"),
            beside("cpython"),
        ],
    ),
];

const CHANNELS_3: &[Rival] = &[
    at_least("crossbeam", 3.0),
    beside("ipc-channel"),
    beside("socketpair"),
    beside("cpython"),
];

const POOLS: &[Case] = &[
    tasks(
        "100,000 trivial tasks, map",
        "pool-trivial",
        &[at_most("rayon", 1.0)],
    ),
    tasks(
        "10,000 trivial tasks, one by one",
        "pool-trivial --one-by-one 1 --tasks 10000",
        &[at_most("rayon", 1.0)],
    ),
    tasks(
        "100,000 trivial tasks, one by one",
        "pool-trivial --one-by-one 1",
        &[at_most("rayon", 1.0)],
    ),
    tasks(
        "200 tasks, 1 MiB in and out",
        "pool-mib",
        &[at_most("rayon", 1.5)],
    ),
    tasks(
        "64 tasks of 50 ms of CPU",
        "pool-cpu",
        &[at_most("rayon", 1.02)],
    ),
    Case::times(
        "a lone task, one worker",
        "pool-apply --workers 1",
        "apply_p50",
        &[beside("rayon")],
    ),
    Case::times(
        "a lone task after 2 ms of rest",
        "pool-apply --pause 2000 --reps 500",
        "apply_p50",
        &[beside("rayon")],
    )
    .note("Two wakes: that of the worker, and that of the caller."),
    Case {
        title: "a pool of 5 made for 100 tasks",
        call: "pool-seed",
        variants: &[],
        rivals: &[at_most("processes", 0.25)],
        metric: "seconds",
        unit: "ms",
        scale: 1e-3,
        note: "",
    },
];

const fn tasks(title: &'static str, call: &'static str, rivals: &'static [Rival]) -> Case {
    Case {
        title,
        call,
        variants: &[],
        rivals,
        metric: "us_per_task",
        unit: "us",
        scale: 1.0,
        note: "",
    }
}

const MANAGERS: &[Case] = &[
    Case::rate(
        "dict get, 1 client",
        "map-ops --clients 1",
        "ops_per_s",
        &[at_least("redis", 1.3)],
    ),
    Case::rate(
        "dict get, 4 clients",
        "map-ops --clients 4",
        "ops_per_s",
        &[at_least("redis", 1.3)],
    ),
    Case::rate(
        "dict get, 1 client beside 1,000 idle ones",
        "map-ops --clients 1 --idle 1000",
        "ops_per_s",
        &[],
    ),
    Case::rate(
        "dict insert, 1 client",
        "map-ops --clients 1 --op set",
        "ops_per_s",
        &[at_least("redis", 1.3)],
    ),
    Case::rate(
        "dict update by a function, 1 client",
        "map-ops --clients 1 --op update",
        "ops_per_s",
        &[],
    ),
    Case::rate(
        "dict get, 100 under way",
        "map-ops --clients 1 --depth 100",
        "ops_per_s",
        &[beside("redis")],
    ),
    Case {
        title: "memory for each of 1,000,000 entries",
        call: "map-memory",
        variants: &[],
        rivals: &[at_most("hashmap", 2.0)],
        metric: "bytes_each",
        unit: "B",
        scale: 1.0,
        note: "Entries in the order of their keys, each with its encoded key and value.",
    },
];
