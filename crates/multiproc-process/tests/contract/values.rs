//! What can run, what travels, and what comes back.

use std::sync::atomic::{AtomicU32, Ordering};

use multiproc_process::{ExitStatus, Process, Run, StartMethod};
use multiproc_shm::{Kind, Object};
use multiproc_wire::{Bytes, TaskFailure};
use serde::{Deserialize, Serialize};

use crate::tools::result_of;

crate::behaviours! { crate::EVERY;
    a_function_returns_its_value,
    a_closure_that_captures_nothing_runs,
    a_generic_function_runs,
    several_arguments_travel_as_a_tuple,
    a_recursive_type_travels_both_ways,
    nothing_travels,
    what_is_empty_travels,
    a_mebibyte_travels_both_ways,
    many_small_items_travel,
    a_payload_travels_without_serde,
    a_task_that_fails_returns_its_error,
    a_type_that_runs_is_a_task,
    an_object_in_shared_memory_travels_and_is_the_same,
    a_global_is_each_processes_own,
    the_result_is_decoded_anew_for_each_join,
}

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
    let process = Process::new(|n: u8| n.to_string(), 7).start_method(method);
    assert_eq!(process.start().unwrap().join().unwrap(), "7");
}

fn largest<T: Ord + Clone>(items: Vec<T>) -> Option<T> {
    items.iter().max().cloned()
}

fn a_generic_function_runs(method: StartMethod) {
    let process = Process::new(largest::<String>, vec!["a".into(), "c".into(), "b".into()]);
    let process = process.start_method(method).start().unwrap();
    assert_eq!(process.join().unwrap().as_deref(), Some("c"));
    let process = Process::new(largest::<u8>, vec![]).start_method(method);
    assert_eq!(process.start().unwrap().join(), Ok(None));
}

fn several_arguments_travel_as_a_tuple(method: StartMethod) {
    let process = Process::new(
        |(a, b, c): (String, u8, [f64; 2])| format!("{a}{b}{}", c[1]),
        ("x".into(), 7, [0.0, 2.5]),
    );
    let process = process.start_method(method).start().unwrap();
    assert_eq!(process.join().unwrap(), "x72.5");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(i64),
    Node(Box<Tree>, Box<Tree>),
}

fn mirrored(tree: Tree) -> Tree {
    match tree {
        Tree::Leaf(value) => Tree::Leaf(value),
        Tree::Node(left, right) => {
            Tree::Node(Box::new(mirrored(*right)), Box::new(mirrored(*left)))
        }
    }
}

fn a_recursive_type_travels_both_ways(method: StartMethod) {
    let leaf = |value| Box::new(Tree::Leaf(value));
    let tree = Tree::Node(Box::new(Tree::Node(leaf(1), leaf(-2))), leaf(3));
    let process = Process::new(mirrored, tree.clone()).start_method(method);
    assert_eq!(process.start().unwrap().join(), Ok(mirrored(tree)));
}

fn nothing_travels(method: StartMethod) {
    result_of(method, || ());
}

fn what_is_empty_travels(method: StartMethod) {
    type Empty = (String, Vec<u8>, Vec<String>, Option<u8>);
    let process = Process::new(|nothing: Empty| nothing, Empty::default());
    let process = process.start_method(method).start().unwrap();
    assert_eq!(process.join(), Ok(Empty::default()));
}

fn a_mebibyte_travels_both_ways(method: StartMethod) {
    let bytes: Vec<u8> = (0..1 << 20)
        .map(|n: u32| n.wrapping_mul(31) as u8)
        .collect();
    let reversed = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let process = Process::new(reversed, bytes.clone()).start_method(method);
    assert_eq!(process.start().unwrap().join(), Ok(reversed(bytes)));
}

fn many_small_items_travel(method: StartMethod) {
    let items: Vec<(u32, String)> = (0..20_000).map(|n| (n, n.to_string())).collect();
    let longest = |items: Vec<(u32, String)>| items.into_iter().max_by_key(|(n, _)| *n);
    let process = Process::new(longest, items).start_method(method);
    let expected = Some((19_999, "19999".to_owned()));
    assert_eq!(process.start().unwrap().join(), Ok(expected));
}

fn a_payload_travels_without_serde(method: StartMethod) {
    let process = Process::new(|bytes: Bytes| bytes, Bytes::from(vec![7; 100_000]));
    let process = process.start_method(method).start().unwrap();
    assert_eq!(process.join().unwrap(), Bytes::from(vec![7; 100_000]));
}

fn halved(text: String) -> Result<u32, TaskFailure> {
    Ok(text.parse::<u32>()? / 2)
}

fn a_task_that_fails_returns_its_error(method: StartMethod) {
    let of = |text: &str| Process::new(halved, text.to_owned()).start_method(method);
    assert_eq!(of("42").start().unwrap().join().unwrap().unwrap(), 21);
    let error = of("many").start().unwrap().join().unwrap().unwrap_err();
    assert!(error.to_string().contains("invalid digit"), "{error}");
}

#[derive(Serialize, Deserialize)]
struct Join {
    words: Vec<String>,
    between: char,
}

impl Run for Join {
    type Output = String;

    fn run(self) -> String {
        self.words.join(&self.between.to_string())
    }
}

fn a_type_that_runs_is_a_task(method: StartMethod) {
    let task = Join {
        words: vec!["a".into(), "b".into()],
        between: '-',
    };
    let process = Process::from_task(task).start_method(method);
    assert_eq!(process.start().unwrap().join().unwrap(), "a-b");
}

fn an_object_in_shared_memory_travels_and_is_the_same(method: StartMethod) {
    let object = Object::create(Kind::Plain, 7, 64, |_| ()).unwrap();
    object.words()[0].store(1, Ordering::SeqCst);
    let process = Process::new(
        |object: Object| {
            object.words()[1].store(2, Ordering::SeqCst);
            let before = object.words()[0].load(Ordering::SeqCst);
            (before, object)
        },
        object.clone(),
    );
    let process = process.start_method(method).start().unwrap();
    let (before, back) = process.join().unwrap();
    assert_eq!(before, 1);
    assert_eq!(object.words()[1].load(Ordering::SeqCst), 2);
    assert!(back.is(&object));
}

static GLOBAL: AtomicU32 = AtomicU32::new(100);

fn a_global_is_each_processes_own(method: StartMethod) {
    GLOBAL.store(101, Ordering::SeqCst);
    let before = result_of(method, || GLOBAL.swap(10, Ordering::SeqCst));
    // Only a copy of this process has what this process has changed.
    let expected = if method == StartMethod::Fork {
        101
    } else {
        100
    };
    assert_eq!(before, expected);
    assert_eq!(GLOBAL.load(Ordering::SeqCst), 101);
}

fn the_result_is_decoded_anew_for_each_join(method: StartMethod) {
    let process = Process::call(|| vec![1, 2, 3]).start_method(method);
    let process = process.start().unwrap();
    let mut first = process.join().unwrap();
    first.push(4);
    assert_eq!(process.join().unwrap(), [1, 2, 3]);
    assert_eq!(process.try_join().unwrap(), [1, 2, 3]);
}
