//! Whole lives of processes. A test binary has threads, so copies only make system calls.

use super::*;
use crate::clock::Deadline;
use crate::poll;
use std::os::fd::AsFd;
use std::time::Duration;

/// Runs `act` in a fork that then ends with the code it returns.
fn fork(act: impl FnOnce() -> i32) -> PidFd {
    // SAFETY: the copy runs `act`, which makes system calls only, and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", nix::errno::Errno::last());
    if pid == 0 {
        lifetime::exit_now(act());
    }
    PidFd::open(pid.unsigned_abs()).expect("a child nobody has reaped")
}

fn wait(child: &PidFd) -> Exit {
    let until = Deadline::after(Duration::from_secs(20));
    assert_eq!(
        poll::readable(child.as_fd(), until),
        Ok(true),
        "no end in 20 s"
    );
    child.reap().expect("our child").expect("it has ended")
}

#[test]
fn codes_and_signals_are_told_apart() {
    assert_eq!(wait(&fork(|| 7)), Exit::Code(7));
    let endless = fork(|| {
        loop {
            std::thread::park();
        }
    });
    assert_eq!(endless.reap(), Ok(None));
    endless.signal(Signal::Kill).expect("it is ours");
    let exit = wait(&endless);
    assert_eq!(
        exit,
        Exit::Signal {
            number: libc::SIGKILL,
            core: false
        }
    );
    assert_eq!(endless.reap(), Err(nix::errno::Errno::ECHILD));
    assert!(endless.exit_of_reaped().is_none_or(|again| again == exit));
    assert_eq!(endless.signal(Signal::Kill), Ok(()));
}

#[test]
fn a_copy_is_a_child_of_the_parent_and_repaired() {
    let (here, there) = crate::socket::pair().expect("a pair");
    let me = std::process::id();
    let original = fork(|| {
        // SAFETY: a fork of a threaded process has one thread; the copy only makes system calls and
        // reads and writes words of its own.
        match unsafe { sibling() } {
            Ok(Side::Copy) => {
                // SAFETY: gettid takes nothing.
                let tid = unsafe { libc::gettid() }.unsigned_abs();
                let sound = std::os::unix::process::parent_id() == me
                    && std::process::id() == tid
                    && crate::robust::tid() == tid
                    && can_clone().is_ok();
                i32::from(!sound)
            }
            Ok(Side::Original { pid, pidfd }) => {
                let sent = there.send(&pid.to_ne_bytes(), &[pidfd.as_fd()]);
                i32::from(sent.is_err())
            }
            Err(errno) => errno as i32,
        }
    });
    assert_eq!(wait(&original), Exit::Code(0));
    let mut pid = [0; 4];
    let mut got = here.recv(&mut pid).expect("received");
    assert_eq!((got.len, got.fds.len()), (4, 1));
    let copy = PidFd::from(got.fds.remove(0));
    assert_eq!(wait(&copy), Exit::Code(0));
}

#[test]
fn strays_are_reaped_and_known_ones_left() {
    std::thread::spawn(|| {
        let known = fork(|| 0);
        let until = Deadline::after(Duration::from_secs(20));
        assert_eq!(poll::readable(known.as_fd(), until), Ok(true));
        reap_strays(|_| true);
        assert_eq!(known.reap(), Ok(Some(Exit::Code(0))));
        let stray = fork(|| 0);
        assert_eq!(poll::readable(stray.as_fd(), until), Ok(true));
        reap_strays(|_| false);
        assert_eq!(stray.reap(), Err(nix::errno::Errno::ECHILD));
    })
    .join()
    .expect("no panic");
}

#[test]
fn this_program_runs_again_with_the_descriptors_it_is_given() {
    // The test harness finds no test and ends well: enough to show that the program ran.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let run = SelfExec::new(
        ["again".into(), "no-such-test".into(), "--quiet".into()],
        std::env::vars_os(),
    );
    let (pid, child) = run.start(&[writer.as_fd()], true).expect("started");
    assert_ne!(pid, 0);
    drop(writer);
    assert_eq!(wait(&child), Exit::Code(0));
    // A fork that another test has just made may have the other end for a moment yet.
    let soon = Deadline::after(Duration::from_secs(30));
    assert_eq!(poll::readable(reader.as_fd(), soon), Ok(true));
}

#[test]
fn a_program_that_cannot_run_leaves_no_child() {
    let long = std::ffi::OsString::from("x".repeat(1 << 20));
    let run = SelfExec::new(["again".into(), long], []);
    let error = run.start(&[], false).expect_err("too long");
    assert_eq!(error, ExecError::Exec(nix::errno::Errno::E2BIG));
}

#[test]
fn inherited_means_open_and_not_marked() {
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let number = std::os::fd::AsRawFd::as_raw_fd(&reader);
    assert!(inherited(number).is_none());
    assert!(inherited(-1).is_none() && inherited(i32::MAX).is_none());
}

#[test]
fn another_thread_is_noticed() {
    // This process has more than one: that of the test, and the one that waits for it.
    assert!(!lifetime::has_one_thread());
    let child = fork(|| i32::from(!lifetime::has_one_thread()));
    assert_eq!(wait(&child), Exit::Code(0));
}
