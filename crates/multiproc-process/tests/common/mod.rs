//! What the tests of this directory share: a limit on everything, and fresh processes to try
//! dangerous things in.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses a part of this"
)]

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use multiproc_sys::child::PidFd;
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;

/// No test may take longer: far more than any needs on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Names the helper that a fresh run of the test binary is to be.
const HELPER: &str = "MP_TEST_HELPER";

/// Runs `body`; ends this process with a message if it takes too long. A hang is a failure.
pub(crate) fn limited<T>(body: impl FnOnce() -> T) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let watchdog = std::thread::spawn(move || {
        // A long run kills twenty times as often.
        let long = std::env::var_os("CHAOS").is_some();
        let limit = if long { LIMIT * 20 } else { LIMIT };
        if wait.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    });
    let value = body();
    drop(done);
    watchdog.join().expect("the watchdog only waits");
    value
}

/// Waits until `holds`.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether this run of the test binary is the helper `name`. A helper is a test that does nothing
/// otherwise.
pub(crate) fn is_helper(name: &str) -> bool {
    let is_helper = std::env::var(HELPER).is_ok_and(|wanted| wanted == name);
    if is_helper {
        // A test that is ended because it hangs must not leave its helper behind.
        let parent = std::os::unix::process::parent_id();
        multiproc_sys::child::lifetime::die_with_parent(parent).expect("no filter is in place");
    }
    is_helper
}

/// A fresh run of this test binary as the helper `name`, which is the name of its test, too.
pub(crate) fn helper(name: &str) -> Command {
    command_of(std::env::current_exe().expect("the test binary"), name)
}

pub(crate) fn command_of(binary: PathBuf, name: &str) -> Command {
    let mut command = Command::new(binary);
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(HELPER, name)
        .stdin(Stdio::null());
    command
}

/// The helper `name` by way of a shell that first runs `setup`.
pub(crate) fn helper_after(setup: &str, binary: PathBuf, name: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{setup} && exec \"$0\" \"$@\""))
        .arg(binary)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(HELPER, name)
        .stdin(Stdio::null());
    command
}

/// Runs a helper to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the helper runs");
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Starts a helper whose output is read line by line.
pub(crate) fn begin(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the helper runs")
}

/// A control group that a test has made. Dropped, it is removed, once it is empty.
pub(crate) struct ControlGroup(PathBuf);

impl ControlGroup {
    /// In the first of these places that lets us: where, and which of its files say what. `None` if
    /// none does; why, is printed.
    pub(crate) fn make(places: &[(&str, &[(&str, &str)])]) -> Option<ControlGroup> {
        let name = format!("multiproc-test-{}", std::process::id());
        places.iter().find_map(|(root, settings)| {
            let group = PathBuf::from(root).join(&name);
            let made = std::fs::create_dir(&group).and_then(|()| {
                // A directory of another kind has no such file.
                let members = std::fs::metadata(group.join("cgroup.procs")).map(drop);
                settings.iter().fold(members, |so_far, (file, text)| {
                    so_far.and_then(|()| std::fs::write(group.join(file), text))
                })
            });
            if let Err(error) = made {
                println!("no control group in {root}: {error}");
                let _ = std::fs::remove_dir(group);
                return None;
            }
            Some(ControlGroup(group))
        })
    }

    /// Where a process writes its number to become a member.
    pub(crate) fn members(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        eventually("the group is empty", || {
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// What follows `key` on the line of the text that has it.
pub(crate) fn after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines()
        .find_map(|line| line.split_once(key))
        .map(|(_, rest)| rest.trim())
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
    !PathBuf::from(format!("/proc/{pid}")).exists()
}

pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}
