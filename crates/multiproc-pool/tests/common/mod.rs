//! What the tests of the pool share: a watchdog, a seeded choice, standing checks.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use multiproc_sys::child::{PidFd, Signal};

/// Runs `test` on a thread; after a minute without an end, the whole process fails.
pub(crate) fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    let minutes = u64::from(chaos()).max(1);
    let (done, end) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let patience = Duration::from_secs(60 * minutes);
    if let Err(mpsc::RecvTimeoutError::Timeout) = end.recv_timeout(patience) {
        eprintln!("the test did not end within {patience:?}");
        std::process::abort();
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// How often a test of deaths is to be repeated: `CHAOS=10` for ten times as often, `CHAOS=n` for what
/// a night has time for.
pub(crate) fn chaos() -> u32 {
    const NIGHT: u32 = 25;
    std::env::var("CHAOS").map_or(1, |times| times.parse().unwrap_or(NIGHT))
}

/// How often a fault is provoked: `each` time by default, `night` with `CHAOS=n`.
pub(crate) fn times(each: u32, night: u32) -> u32 {
    match std::env::var("CHAOS") {
        Ok(times) => times.parse().map_or(night, |times: u32| each * times),
        Err(_) => each,
    }
}

/// Waits for what must come, but not at once.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "still not: {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Numbers that look random, the same for the same seed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        println!("seed {seed}");
        Chance(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Kills a process; one that is gone already is no error.
pub(crate) fn kill(pid: u32) {
    if let Ok(process) = PidFd::open(pid) {
        let _ = process.signal(Signal::Kill);
    }
}

/// Ends the calling process as `kill -9` does.
pub(crate) fn kill_me() -> ! {
    kill(std::process::id());
    loop {
        std::thread::park();
    }
}

/// Which of the processes of a finished test are still there.
pub(crate) fn alive(pids: &[u32]) -> Vec<u32> {
    let is_there = |pid: &&u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    pids.iter().filter(is_there).copied().collect()
}
