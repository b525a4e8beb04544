//! What a process does, whatever it was started by: one list of behaviours, run on every start method.
//!
//! Each case runs in a fresh process of its own with one thread, as a copy of a process by
//! [`StartMethod::Fork`] demands; several run at once. Prints what the test harness of the standard
//! library would, and takes its filters.

mod ends;
mod forks;
mod identity;
mod joining;
mod life;
mod runner;
mod streams;
mod surroundings;
mod values;

use multiproc_process::StartMethod;

/// A behaviour: its name, what shows it, and where.
struct Behaviour {
    name: &'static str,
    show: fn(StartMethod),
    methods: &'static [StartMethod],
}

const EVERY: &[StartMethod] = &[
    StartMethod::ForkServer,
    StartMethod::Spawn,
    StartMethod::Fork,
];

/// A table of the named functions.
macro_rules! behaviours {
    ($methods:expr; $($name:ident),* $(,)?) => {
        pub(crate) const ALL: &[crate::Behaviour] = &[
            $(crate::Behaviour { name: stringify!($name), show: $name, methods: $methods }),*
        ];
    };
}
pub(crate) use behaviours;

const AREAS: &[(&str, &[Behaviour])] = &[
    ("values", values::ALL),
    ("identity", identity::ALL),
    ("joining", joining::ALL),
    ("ends", ends::ALL),
    ("surroundings", surroundings::ALL),
    ("streams", streams::ALL),
    ("life", life::ALL),
    ("forks", forks::ALL),
];

fn main() {
    runner::main();
}

/// What the behaviours share.
mod tools {
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use multiproc_process::{Process, StartMethod};
    use multiproc_sys::child::PidFd;
    use multiproc_sys::clock::Deadline;
    use multiproc_sys::poll;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub(crate) fn start<R>(method: StartMethod, f: fn() -> R) -> Process<R>
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        Process::call(f).start_method(method).start().unwrap()
    }

    pub(crate) fn result_of<R>(method: StartMethod, f: fn() -> R) -> R
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        start(method, f).join().unwrap()
    }

    pub(crate) fn sleep_for_ever() {
        loop {
            std::thread::park();
        }
    }

    /// Waits until `holds`.
    pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < until, "never: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether no process `pid` runs; one that has ended and is not reaped does not run.
    pub(crate) fn is_gone(pid: u32) -> bool {
        match PidFd::open(pid) {
            Ok(pidfd) => poll::readable(pidfd.as_fd(), Deadline::NOW) == Ok(true),
            Err(_) => true,
        }
    }

    /// Whether the process table has no entry `pid`, not even a zombie.
    pub(crate) fn is_reaped(pid: u32) -> bool {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    }

    pub(crate) fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
}
