//! Shared memory by name and without, lists in it, and managers: what they do, and what is left of them
//! when somebody dies.

mod deaths;
mod faults;
mod list;
mod manager;
mod memory;

use std::time::Duration;

use multiproc_shm::SharedMemory;
use multiproc_sys::clock::Deadline;
use multiproc_sys::random;

/// A name of this test's own, taken away at its end.
struct Name(String);

impl Name {
    fn new(what: &str) -> Name {
        Name(format!("multiproc-test-{what}-{:x}", random::u64()))
    }

    fn exists(&self) -> bool {
        exists(&self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _gone = SharedMemory::unlink(&self.0);
    }
}

fn exists(name: &str) -> bool {
    std::fs::exists(format!("/dev/shm/{name}")).expect("/dev/shm can be read")
}

/// What this process has open.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .count()
}

/// Waits for something that another process does.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Deadline::after(Duration::from_secs(30));
    while !done() {
        assert!(!until.has_passed(), "{what} has not happened");
        std::thread::yield_now();
    }
}
