//! Functions of all kinds, sent to another process and called there. Each check starts processes
//! and panics if what comes back is not what the function gives here.

use std::collections::BTreeMap;
use std::fmt::Debug;

use multiproc::Process;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Calls `f(argument)` there and here.
fn same_there<A, R>(f: fn(A) -> R, argument: A)
where
    A: Serialize + DeserializeOwned + Clone + 'static,
    R: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let process = Process::new(f, argument.clone())
        .start()
        .expect("it starts");
    assert_eq!(process.join().expect("it ends well"), f(argument));
}

/// A tree: the type contains itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Tree {
    /// An end.
    Leaf(u32),
    /// Two more trees.
    Node(Box<Tree>, Box<Tree>),
}

impl Tree {
    fn of_depth(depth: u32) -> Tree {
        let below = || Box::new(Tree::of_depth(depth - 1));
        if depth == 0 {
            Tree::Leaf(1)
        } else {
            Tree::Node(below(), below())
        }
    }

    fn doubled(self) -> Tree {
        match self {
            Tree::Leaf(value) => Tree::Leaf(2 * value),
            Tree::Node(left, right) => {
                Tree::Node(Box::new(left.doubled()), Box::new(right.doubled()))
            }
        }
    }
}

/// A generic function is one function for each type it is used with.
pub fn generic_functions() {
    fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
        items.sort();
        items
    }
    same_there(sorted::<u32>, vec![3, 1, 2]);
    same_there(sorted::<String>, vec!["b".to_owned(), "a".to_owned()]);
    same_there(sorted::<(i8, char)>, vec![(1, 'x'), (-1, 'y')]);
}

/// Closures that capture nothing; several arguments are a tuple.
pub fn closures() {
    same_there(|n: u64| n + 1, 41);
    same_there(|(a, b): (u32, u32)| a * b, (6, 7));
    same_there(
        |(text, times): (String, usize)| text.repeat(times),
        ("ab".to_owned(), 3),
    );
    same_there(|()| (), ());
}

/// Types with everything serde knows in them.
pub fn rich_types() {
    type Rich = BTreeMap<String, Vec<Option<(i64, f64, char)>>>;
    let rich = Rich::from([
        ("none".to_owned(), vec![]),
        ("some".to_owned(), vec![None, Some((i64::MIN, -0.5, 'ß'))]),
    ]);
    same_there(|map: Rich| map.into_iter().rev().collect::<Vec<_>>(), rich);
    same_there(Tree::doubled, Tree::of_depth(10));
    same_there(|n: u32| n.checked_sub(1).ok_or("too small".to_owned()), 0);
}

/// 1 MiB there and back, by the path for bytes and by serde's.
pub fn large_values() {
    fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }
    fn reversed_words((mut words, ()): (Vec<u64>, ())) -> Vec<u64> {
        words.reverse();
        words
    }
    same_there(reversed, (0..1 << 20).map(|n: u32| n as u8).collect());
    same_there(reversed_words, ((0..1 << 17).collect(), ()));
    same_there(reversed, Vec::new());
}

/// All of the above.
pub fn everything() {
    generic_functions();
    closures();
    rich_types();
    large_values();
}
