//! What can run in another process, and what comes back: one suite, run on every start method.

mod common;

use common::limited;
use multiproc_process::{ExitStatus, Process, StartMethod, current_process, parent_process};
use serde::{Deserialize, Serialize};

/// One test per start method for each function.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod fork_server {
            $(#[test] fn $test() { super::common::limited(|| super::$test(super::StartMethod::ForkServer)) })*
        }
        mod spawn {
            $(#[test] fn $test() { super::common::limited(|| super::$test(super::StartMethod::Spawn)) })*
        }
    };
}

on_both!(
    a_function_returns_its_value,
    a_closure_that_captures_nothing_runs,
    a_generic_function_runs,
    a_recursive_type_travels_both_ways,
    nothing_travels,
    a_mebibyte_travels_both_ways,
    the_result_is_decoded_anew_for_each_join,
    eight_threads_join_at_once_and_again,
    a_child_starts_children,
    fifty_are_alive_at_once,
    a_process_knows_its_name_and_parent,
    a_timed_join_gives_up_and_a_later_one_does_not,
    the_method_is_the_one_asked_for,
);

fn fib(n: u32) -> u64 {
    if n < 2 {
        u64::from(n)
    } else {
        fib(n - 1) + fib(n - 2)
    }
}

fn a_function_returns_its_value(method: StartMethod) {
    let process = Process::new(fib, 20).start_method(method).start().unwrap();
    assert_eq!(process.join(), Ok(6765));
    assert_eq!(process.exit_status(), Some(ExitStatus::Code(0)));
    assert!(!process.is_alive());
}

fn a_closure_that_captures_nothing_runs(method: StartMethod) {
    let process = Process::new(|(a, b): (String, u8)| format!("{a}{b}"), ("x".into(), 7));
    let process = process.start_method(method).start().unwrap();
    assert_eq!(process.join().unwrap(), "x7");
}

fn largest<T: Ord + Clone>(items: Vec<T>) -> Option<T> {
    items.iter().max().cloned()
}

fn a_generic_function_runs(method: StartMethod) {
    let numbers = Process::new(largest::<i64>, vec![3, -1, 9]).start_method(method);
    let words = vec!["a".to_owned(), "c".to_owned(), "b".to_owned()];
    let words = Process::new(largest::<String>, words).start_method(method);
    let (numbers, words) = (numbers.start().unwrap(), words.start().unwrap());
    assert_eq!(numbers.join(), Ok(Some(9)));
    assert_eq!(words.join(), Ok(Some("c".to_owned())));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(i32),
    Node(Box<Tree>, Box<Tree>),
}

fn mirrored(tree: Tree) -> Tree {
    match tree {
        Tree::Leaf(n) => Tree::Leaf(n),
        Tree::Node(a, b) => Tree::Node(Box::new(mirrored(*b)), Box::new(mirrored(*a))),
    }
}

fn a_recursive_type_travels_both_ways(method: StartMethod) {
    let leaf = |n| Box::new(Tree::Leaf(n));
    let tree = Tree::Node(Box::new(Tree::Node(leaf(1), leaf(2))), leaf(3));
    let process = Process::new(mirrored, tree.clone()).start_method(method);
    let process = process.start().unwrap();
    assert_eq!(process.join(), Ok(mirrored(tree)));
}

fn nothing_travels(method: StartMethod) {
    let process = Process::call(|| ()).start_method(method).start().unwrap();
    assert_eq!(process.join(), Ok(()));
    let process = Process::new(|()| (), ()).start_method(method).start();
    assert_eq!(process.unwrap().join(), Ok(()));
}

fn a_mebibyte_travels_both_ways(method: StartMethod) {
    let turn = |bytes: Vec<u8>| bytes.into_iter().rev().collect::<Vec<u8>>();
    let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n * 31) as u8).collect();
    let process = Process::new(turn, bytes.clone()).start_method(method);
    let process = process.start().unwrap();
    let back = process.join().unwrap();
    assert!(back.iter().rev().eq(&bytes), "the bytes have changed");
}

fn the_result_is_decoded_anew_for_each_join(method: StartMethod) {
    let process = Process::call(|| vec![String::from("a")]).start_method(method);
    let process = process.start().unwrap();
    let mut first = process.join().unwrap();
    first.push("b".into());
    assert_eq!(process.join().unwrap(), ["a"]);
    assert_eq!(process.try_join().unwrap(), ["a"]);
}

fn eight_threads_join_at_once_and_again(method: StartMethod) {
    let process = Process::new(fib, 15).start_method(method).start().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let process = process.clone();
            scope.spawn(move || {
                for _ in 0..10 {
                    assert_eq!(process.join(), Ok(610));
                }
            });
        }
    });
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
    let process = Process::new(nested, 2)
        .start_method(method)
        .start()
        .unwrap();
    let mut pids = process.join().unwrap();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

fn fifty_are_alive_at_once(method: StartMethod) {
    let endless = || {
        Process::call(|| {
            loop {
                std::thread::park()
            }
        })
    };
    let all: Vec<Process<()>> = (0..50)
        .map(|_| endless().daemon(true).start_method(method).start().unwrap())
        .collect();
    assert!(all.iter().all(Process::is_alive));
    for process in &all {
        process.kill().unwrap();
    }
    assert!(
        all.iter()
            .all(|process| process.join().unwrap_err().is_signaled())
    );
}

fn who() -> (String, u32, String, u32, bool) {
    let (me, parent) = (
        current_process(),
        parent_process().expect("a child has one"),
    );
    assert!(parent.is_alive());
    let (name, parent_name) = (me.name().to_owned(), parent.name().to_owned());
    (name, me.pid(), parent_name, parent.pid(), me.is_daemon())
}

fn a_process_knows_its_name_and_parent(method: StartMethod) {
    let process = Process::call(who)
        .name("worker")
        .daemon(true)
        .start_method(method);
    let process = process.start().unwrap();
    let (name, pid, parent_name, parent, daemon) = process.join().unwrap();
    assert_eq!((name.as_str(), pid), ("worker", process.pid()));
    assert_eq!((parent_name.as_str(), parent), ("main", std::process::id()));
    assert!(daemon && process.is_daemon() && parent_process().is_none());
    let unnamed = Process::call(who).start_method(method).start().unwrap();
    assert!(unnamed.name().starts_with("Process-"), "{}", unnamed.name());
    assert_eq!(unnamed.join().unwrap().0, unnamed.name());
}

fn a_timed_join_gives_up_and_a_later_one_does_not(method: StartMethod) {
    let process = Process::<()>::call(|| {
        loop {
            std::thread::park()
        }
    })
    .start_method(method);
    let process = process.start().unwrap();
    let soon = std::time::Duration::from_millis(5);
    assert!(process.join_timeout(soon).unwrap_err().is_timed_out());
    assert!(process.try_join().unwrap_err().is_timed_out());
    let instant = std::time::Instant::now() + soon;
    assert!(process.join_deadline(instant).unwrap_err().is_timed_out());
    assert_eq!((process.is_alive(), process.exit_status()), (true, None));
    process.terminate().unwrap();
    assert!(process.join().unwrap_err().is_signaled());
    process.terminate().unwrap();
    process.interrupt().unwrap();
}

fn the_method_is_the_one_asked_for(method: StartMethod) {
    let process = Process::call(|| ()).start_method(method).start().unwrap();
    assert_eq!(process.start_method(), method);
    process.join().unwrap();
}

#[test]
fn a_process_that_ended_is_told_by_its_descriptor() {
    limited(|| {
        let process = Process::call(|| ()).start().unwrap();
        let until = multiproc_sys::clock::Deadline::after(common::LIMIT);
        assert_eq!(
            multiproc_sys::poll::readable(process.sentinel(), until),
            Ok(true)
        );
        assert!(!process.is_alive());
    });
}

#[test]
fn whoever_reaps_calls_back_once() {
    limited(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let process = Process::call(|| ()).start().unwrap();
        for _ in 0..2 {
            let sender = sender.clone();
            process.on_exit(Box::new(move |status| sender.send(status).unwrap()));
        }
        drop(sender);
        // Nobody joins: the keeper reaps.
        assert_eq!(
            receiver.iter().collect::<Vec<_>>(),
            [ExitStatus::Code(0); 2]
        );
        let (sender, receiver) = std::sync::mpsc::channel();
        process.on_exit(Box::new(move |status| sender.send(status).unwrap()));
        assert_eq!(receiver.recv(), Ok(ExitStatus::Code(0)));
    });
}
