//! What must be as before when a test is over.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::processes;

/// How long what is under way may take to settle: a killed process to be reaped, say.
const SETTLE: Duration = Duration::from_secs(5);

/// The fork server keeps one copy of itself ready, under this name: always one, not always the same.
const SPARE: &str = "mp-spare";

static ALONE: Mutex<()> = Mutex::new(());

/// The state of this process and its surroundings at one moment. Tests that take one run alone,
/// because those beside them would start processes and open files too.
pub struct Standing {
    facts: Facts,
    _alone: MutexGuard<'static, ()>,
}

#[derive(Debug)]
struct Facts {
    children: BTreeSet<u32>,
    spares: usize,
    zombies: usize,
    descriptors: usize,
    names: BTreeSet<String>,
}

impl Facts {
    fn now() -> Facts {
        let family = processes::descendants(std::process::id());
        let (spares, others): (Vec<_>, Vec<_>) =
            family.iter().partition(|process| process.name == SPARE);
        let open = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
        let names = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        Facts {
            children: others.iter().map(|process| process.pid).collect(),
            spares: spares.len(),
            zombies: family.iter().filter(|process| process.state == 'Z').count(),
            descriptors: open.count(),
            names: names
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        }
    }

    /// What `later` has that was not there before.
    fn left_over(&self, later: &Facts) -> Option<String> {
        let children: Vec<_> = later.children.difference(&self.children).collect();
        let names: Vec<_> = later.names.difference(&self.names).collect();
        let descriptors = later.descriptors.saturating_sub(self.descriptors);
        let clean = children.is_empty()
            && later.spares <= 1
            && names.is_empty()
            && descriptors == 0
            && later.zombies == 0;
        (!clean).then(|| {
            format!(
                "left over: processes {children:?}, {} spares, {} zombies, \
                 {descriptors} descriptors, names in /dev/shm {names:?}",
                later.spares, later.zombies
            )
        })
    }
}

impl Standing {
    /// Waits until no other such test runs, and looks. The library is warmed up first: the fork
    /// server, the arena and the keeper's descriptors stay for the life of the process.
    #[must_use]
    pub fn before() -> Standing {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let process = multiproc::Process::new(|()| (), ())
            .start()
            .expect("a process starts");
        process.join().expect("it ends well");
        drop(process);
        // Its descriptors and its ledger row go back on the keeper's thread.
        thread::sleep(Duration::from_millis(50));
        Standing {
            facts: Facts::now(),
            _alone: alone,
        }
    }

    /// Fails unless all is as before, now or after a short while.
    ///
    /// # Panics
    ///
    /// If something is left over.
    pub fn check(self) {
        let until = Instant::now() + SETTLE;
        while let Some(what) = self.facts.left_over(&Facts::now()) {
            assert!(Instant::now() < until, "{what}\n{}", processes::dump());
            thread::sleep(Duration::from_millis(10));
        }
    }
}
