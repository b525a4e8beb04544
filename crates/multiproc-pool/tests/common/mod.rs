//! What the tests of the pool share: a watchdog, a seeded choice, standing checks.

use std::sync::mpsc;
use std::time::{Duration, Instant};

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

/// How often a test of deaths is to be repeated: `CHAOS=10` for ten times as often.
pub(crate) fn chaos() -> u32 {
    std::env::var("CHAOS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Waits for what must come, but not at once.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "still not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
