//! What values, arrays and their raw kin promise, between processes, whoever dies.

use std::time::Duration;

use multiproc_shm::testing::{self, Chance, LIMIT, kills, until};
use multiproc_sync::{Array, Condition, RawArray, RawValue};

#[test]
fn elements_of_any_size_come_back() {
    let bytes = Array::from_slice(&[1u8, 2, 3, 4, 5, 6, 7, 8, 9]).expect("an array");
    bytes.set(8, 90);
    bytes.update(3, |byte| *byte += 1);
    assert_eq!(bytes.to_vec(), [1, 2, 3, 5, 5, 6, 7, 8, 90]);
    let odd = Array::from_slice(&[[1u8; 3], [2; 3], [3; 3]]).expect("an array");
    odd.set(1, [9; 3]);
    assert_eq!(odd.to_vec(), [[1; 3], [9; 3], [3; 3]]);
    let large = Array::<[u64; 5]>::new(3).expect("an array");
    large.set(1, [7; 5]);
    assert_eq!(large.to_vec(), [[0; 5], [7; 5], [0; 5]]);
    assert_eq!((large.len(), large.get(1)[4]), (3, 7));
    let none = Array::<u32>::new(0).expect("an array");
    assert!(none.is_empty() && none.lock().is_empty());
    assert_eq!(
        format!("{none:?} {odd:?}"),
        "Array[] Array[[1, 1, 1], [9, 9, 9], [3, 3, 3]]"
    );
}

#[test]
fn a_guard_is_a_slice_of_all() {
    let array = Array::from_slice(&[3i32, 1, 2]).expect("an array");
    let same = array.clone();
    let mut guard = array.lock();
    guard.sort_unstable();
    assert_eq!(format!("{same:?}"), "Array(<locked>)");
    drop(guard);
    assert_eq!(same.to_vec(), [1, 2, 3]);
}

#[test]
fn too_long_an_array_is_refused() {
    let error = Array::<u64>::new(usize::MAX / 4).expect_err("no memory is as large");
    assert!(error.is_no_space(), "{error}");
    let error = RawArray::<u64>::new(usize::MAX / 16).expect_err("no memory is as large");
    assert!(error.is_no_space(), "{error}");
}

#[test]
#[should_panic(expected = "index 2 is out of range: the array has 2 elements")]
fn an_index_out_of_range_panics() {
    Array::<u8>::new(2).expect("an array").get(2);
}

#[test]
fn updates_of_processes_add_up() {
    let array = Array::<u16>::new(8).expect("an array");
    let raw = RawArray::<u8>::new(8).expect("an array");
    let children: Vec<_> = (0..3)
        .map(|_| {
            let (array, raw) = (array.clone(), raw.clone());
            testing::fork(move || {
                for turn in 0..8_000 {
                    array.update(turn % 8, |number| *number += 1);
                    raw.update(turn % 8, |number| number.wrapping_add(1));
                }
            })
        })
        .collect();
    assert!(children.into_iter().all(testing::Forked::join));
    assert_eq!(array.to_vec(), [3_000; 8]);
    assert_eq!(raw.to_vec(), [(3_000 % 256) as u8; 8]);
}

#[test]
fn raw_values_of_each_size_come_back() {
    let flag = RawValue::new(false).expect("a value");
    flag.set(true);
    assert!(flag.get());
    assert_eq!(RawValue::new('ß').expect("a value").get(), 'ß');
    assert_eq!(RawValue::new(-2i16).expect("a value").update(|n| n - 1), -2);
    let floats = RawArray::from_slice(&[1.5f64, 2.5]).expect("an array");
    floats.set(0, -1.0);
    assert_eq!(format!("{floats:?}"), "RawArray[-1.0, 2.5]");
    assert!(RawArray::<u32>::new(0).expect("an array").is_empty());
}

#[test]
fn a_condition_takes_an_array_guard() {
    let array = Array::<u32>::new(2).expect("an array");
    let changed = Condition::new().expect("a condition");
    let (theirs, notice) = (array.clone(), changed.clone());
    let mut guard = array.lock();
    let child = testing::fork(move || {
        theirs.set(1, 5);
        notice.notify_all();
    });
    let seen = changed.wait_for_timeout(&mut guard, |numbers| numbers[1] == 5, LIMIT);
    assert_eq!(seen, Ok(true));
    assert!(child.join());
}

#[test]
fn killed_at_any_moment_each_element_is_old_or_new() {
    let large = Array::<[u64; 6]>::new(3).expect("an array");
    let small = Array::<[u8; 3]>::new(5).expect("an array");
    let mut chance = Chance::new();
    for _ in 0..kills(150) {
        let (large2, small2) = (large.clone(), small.clone());
        let child = testing::fork(move || {
            for turn in 0.. {
                large2.update(turn % 3, |words| {
                    words.iter_mut().for_each(|word| *word += 1)
                });
                small2.update(turn % 5, |bytes| {
                    *bytes = bytes.map(|byte| byte.wrapping_add(1))
                });
                if turn % 7 == 0 {
                    large2
                        .lock()
                        .iter_mut()
                        .for_each(|words| *words = words.map(|w| w + 1));
                }
            }
        });
        let before = large.get(2);
        until(|| large.get(2) != before, "a change");
        chance.moment(Duration::from_micros(50));
        child.kill();
        for words in large.to_vec() {
            assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
        }
        for bytes in small.to_vec() {
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{bytes:?}");
        }
    }
}
