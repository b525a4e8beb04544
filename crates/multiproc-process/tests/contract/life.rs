//! How long processes live, and what is left of them.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::time::Duration;

use multiproc_process::{
    Process, ProcessBuilder, StartMethod, Stdio, parent_process, set_start_method,
};
use multiproc_sys::child::{PidFd, Signal};
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;

use crate::tools::{eventually, is_gone, is_reaped, open_descriptors, sleep_for_ever, start};

crate::behaviours! { crate::EVERY;
    a_dropped_handle_ends_nothing_and_leaves_no_zombie,
    descriptors_are_given_back,
    a_child_starts_children,
    children_are_awaited_at_a_normal_end,
    daemons_are_ended_at_a_normal_end,
    daemons_are_ended_by_an_exit_in_a_task,
    children_that_are_none_are_killed_with_a_killed_parent,
    a_tree_of_daemons_dies_when_its_top_is_killed,
    a_detached_process_lives_on,
    a_process_notices_that_its_parent_is_gone,
    a_child_waits_for_nothing_it_did_not_start,
}

fn kill(pid: u32) {
    PidFd::open(pid).unwrap().signal(Signal::Kill).unwrap();
}

fn a_dropped_handle_ends_nothing_and_leaves_no_zombie(method: StartMethod) {
    let process = start(method, sleep_for_ever);
    let pid = process.pid();
    drop(process);
    assert!(!is_gone(pid));
    kill(pid);
    eventually("the keeper reaps it", || is_reaped(pid));
}

fn descriptors_are_given_back(method: StartMethod) {
    let one = || {
        let process = Process::call(|| ())
            .stdout(Stdio::captured())
            .stderr(Stdio::piped());
        process
            .start_method(method)
            .start()
            .unwrap()
            .join()
            .unwrap();
    };
    one();
    let before = open_descriptors();
    for _ in 0..50 {
        one();
    }
    eventually("as many as before", || open_descriptors() <= before);
}

fn nested(depth: u32) -> Vec<u32> {
    let mut pids = vec![std::process::id()];
    if depth > 0 {
        let inner = Process::new(nested, depth - 1).start().unwrap();
        pids.extend(inner.join().unwrap());
    }
    pids
}

fn a_child_starts_children(method: StartMethod) {
    set_start_method(method);
    let mut pids = nested(4);
    assert_eq!(pids[0], std::process::id());
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 5);
}

/// Prints its pid, so that whoever reads it knows that it runs.
fn tell_and_sleep() {
    println!("{}", std::process::id());
    sleep_for_ever();
}

/// The numbers that a process and its descendants print, line by line.
fn numbers(process: &Process<()>) -> impl Iterator<Item = u32> {
    let lines = BufReader::new(process.take_stdout().unwrap()).lines();
    lines
        .map_while(Result::ok)
        .filter_map(|line| line.parse().ok())
}

fn piped(builder: ProcessBuilder<(), ()>) -> Process<()> {
    builder.stdout(Stdio::piped()).start().unwrap()
}

fn children_are_awaited_at_a_normal_end(method: StartMethod) {
    set_start_method(method);
    let process = Process::call(|| {
        let inner = Process::call(|| {
            std::thread::sleep(Duration::from_millis(50));
            println!("done");
        });
        drop(inner.start().unwrap());
    });
    let process = process.stdout(Stdio::captured()).start().unwrap();
    process.join().unwrap();
    assert_eq!(process.captured_stdout().unwrap(), b"done\n");
}

fn start_a_daemon() {
    let daemon = Process::call(tell_and_sleep).daemon(true).start().unwrap();
    println!("{}", daemon.pid());
    // Until it has said its number, too.
    std::thread::sleep(Duration::from_millis(20));
}

fn daemons_are_ended_at_a_normal_end(method: StartMethod) {
    set_start_method(method);
    let process = piped(Process::call(start_a_daemon));
    let mut numbers = numbers(&process);
    let daemon = numbers.next().unwrap();
    process.join().unwrap();
    assert!(is_gone(daemon));
}

fn daemons_are_ended_by_an_exit_in_a_task(method: StartMethod) {
    set_start_method(method);
    let process = piped(Process::call(|| {
        start_a_daemon();
        std::process::exit(5);
    }));
    let mut numbers = numbers(&process);
    let daemon = numbers.next().unwrap();
    assert!(process.join().unwrap_err().is_exited());
    assert!(is_gone(daemon));
}

/// Prints its number and starts another like itself, `depth` deep.
fn tower((depth, daemon): (u32, bool)) {
    println!("{}", std::process::id());
    if depth > 0 {
        let next = Process::new(tower, (depth - 1, daemon)).daemon(daemon);
        let _ = next.start().unwrap().join();
    }
    sleep_for_ever();
}

fn dies_as_a_whole(daemon: bool) {
    for _ in 0..3 {
        let top = Process::new(tower, (3, daemon)).daemon(daemon);
        let top = top.stdout(Stdio::piped()).start().unwrap();
        let pids: Vec<u32> = numbers(&top).take(4).collect();
        assert_eq!((pids.len(), pids[0]), (4, top.pid()));
        let all: Vec<_> = pids.iter().map(|&pid| PidFd::open(pid).unwrap()).collect();
        top.kill().unwrap();
        let until = Deadline::after(Duration::from_secs(30));
        for one in &all {
            let ended = poll::readable(one.as_fd(), until);
            assert_eq!(ended, Ok(true), "a descendant lives on");
        }
        assert!(top.join().unwrap_err().is_signaled());
    }
}

fn children_that_are_none_are_killed_with_a_killed_parent(method: StartMethod) {
    set_start_method(method);
    dies_as_a_whole(false);
}

fn a_tree_of_daemons_dies_when_its_top_is_killed(method: StartMethod) {
    set_start_method(method);
    dies_as_a_whole(true);
}

fn a_detached_process_lives_on(method: StartMethod) {
    set_start_method(method);
    for killed in [false, true] {
        let process = Process::new(
            |killed: bool| {
                let detached = Process::call(tell_and_sleep).detach().start().unwrap();
                drop(detached);
                if killed {
                    sleep_for_ever();
                }
            },
            killed,
        );
        let process = process.stdout(Stdio::piped()).start().unwrap();
        let detached = numbers(&process).next().unwrap();
        if killed {
            process.kill().unwrap();
        }
        assert_eq!(process.join().is_err(), killed);
        assert!(!is_gone(detached), "it lives on");
        kill(detached);
        eventually("it ends", || is_gone(detached));
    }
}

fn a_process_notices_that_its_parent_is_gone(method: StartMethod) {
    set_start_method(method);
    let process = Process::call(|| {
        let detached = Process::call(|| {
            let parent = parent_process().unwrap();
            println!("{}", u32::from(parent.is_alive()));
            eventually("the parent is gone", || !parent.is_alive());
            println!("{}", parent.pid());
        });
        drop(detached.detach().start().unwrap());
        sleep_for_ever();
    });
    let process = piped(process);
    let mut numbers = numbers(&process);
    assert_eq!(numbers.next(), Some(1), "alive at first");
    process.kill().unwrap();
    process.join().unwrap_err();
    assert_eq!(numbers.next(), Some(process.pid()));
    assert_eq!(numbers.next(), None, "the end of its output");
}

fn a_child_waits_for_nothing_it_did_not_start(method: StartMethod) {
    let sleeper = start(method, sleep_for_ever);
    let process = Process::call(|| 5).start_method(method).start().unwrap();
    assert_eq!(process.join(), Ok(5));
    assert!(sleeper.is_alive());
    sleeper.kill().unwrap();
    sleeper.join().unwrap_err();
}
