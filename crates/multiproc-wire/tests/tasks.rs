//! Functions become words and come back; nothing else passes for one.

mod support;

use multiproc_wire::task::TaskRef;
use multiproc_wire::{FunctionError, Parcel, RunError, codec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use support::Handle;

fn run<A: Serialize + 'static, R: DeserializeOwned + 'static>(task: TaskRef, argument: &A) -> R {
    let task = TaskRef::from_words(task.to_words())
        .resolve()
        .expect("is ours");
    let argument = codec::encode(argument).expect("encodes");
    let mut reply = Parcel::default();
    task.run(&argument.bytes, &argument.attachments, &mut reply)
        .expect("runs");
    codec::decode(&reply.bytes, &reply.attachments).expect("decodes")
}

fn fib(n: u32) -> u64 {
    if n < 2 {
        n.into()
    } else {
        fib(n - 1) + fib(n - 2)
    }
}

fn longest<T: AsRef<str>>(texts: Vec<T>) -> usize {
    texts
        .iter()
        .map(|text| text.as_ref().len())
        .max()
        .unwrap_or(0)
}

#[test]
fn functions_of_every_kind_run() {
    assert_eq!(run::<_, u64>(TaskRef::of(fib).expect("ours"), &20u32), 6765);
    let add = TaskRef::of(|(a, b): (i32, i32)| a + b).expect("ours");
    assert_eq!(run::<_, i32>(add, &(2, 3)), 5);
    let generic = TaskRef::of(longest::<String>).expect("ours");
    assert_eq!(
        run::<_, usize>(generic, &vec!["a".to_owned(), "abc".to_owned()]),
        3
    );
    let payload = TaskRef::of(|bytes: Vec<u8>| bytes).expect("ours");
    assert_eq!(run::<_, Vec<u8>>(payload, &vec![1u8, 2, 3]), [1, 2, 3]);
    let nothing = TaskRef::of_call(|| "hello".to_owned()).expect("ours");
    assert_eq!(run::<_, String>(nothing, &()), "hello");
    let library = TaskRef::of(String::into_bytes).expect("std is linked in");
    assert_eq!(run::<_, Vec<u8>>(library, &"ab".to_owned()), b"ab");
}

#[test]
fn equal_functions_of_different_types_are_different_tasks() {
    let small = TaskRef::of(|n: u32| n).expect("ours");
    let signed = TaskRef::of(|n: i32| n).expect("ours");
    assert_ne!(small, signed);
    assert_eq!(run::<_, i32>(signed, &-1i32), -1);
    let call = TaskRef::of_call(|| 1u8).expect("ours");
    let unary = TaskRef::of(|()| 1u8).expect("ours");
    assert_ne!(call.to_words()[2], unary.to_words()[2]);
}

#[test]
fn handles_go_in_and_out_of_a_task() {
    let swap = TaskRef::of(|(a, b): (Handle, Handle)| (b, a)).expect("ours");
    let (a, b) = (Handle::new("a"), Handle::new("b"));
    assert_eq!(
        run::<_, (Handle, Handle)>(swap, &(a.clone(), b.clone())),
        (b, a)
    );
}

#[test]
fn a_task_reference_is_itself_a_value() {
    let reference = TaskRef::of(fib).expect("ours");
    let parcel = codec::encode(&reference).expect("encodes");
    assert_eq!(codec::decode(&parcel.bytes, &[]), Ok(reference));
}

#[test]
fn a_task_knows_the_type_of_its_function() {
    let task = TaskRef::of(fib).expect("ours").resolve().expect("ours");
    assert_eq!(task.name(), "fn(u32) -> u64");
    assert_eq!(format!("{task:?}"), r#"Task("fn(u32) -> u64")"#);
}

#[test]
fn an_argument_of_another_type_never_reaches_the_function() {
    let task = TaskRef::of(|_: String| -> u8 { unreachable!() }).expect("ours");
    let task = task.resolve().expect("ours");
    let mut reply = Parcel {
        bytes: vec![7],
        attachments: Vec::new(),
    };
    let error = task.run(&[200], &[], &mut reply).expect_err("no text");
    assert!(error.is_decode());
    let cause = std::error::Error::source(&error)
        .expect("has one")
        .to_string();
    assert_eq!(
        cause,
        "cannot decode `alloc::string::String`: the bytes end before the value does"
    );
    assert_eq!(reply.bytes, [7]);
    let nullary = TaskRef::of_call(|| 1u8)
        .expect("ours")
        .resolve()
        .expect("ours");
    assert!(
        nullary
            .run(&[0], &[], &mut reply)
            .expect_err("takes nothing")
            .is_decode()
    );
}

#[test]
fn a_result_that_cannot_travel_is_an_error_of_the_task() {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
    }
    let task = TaskRef::of(Untagged::Number)
        .expect("ours")
        .resolve()
        .expect("ours");
    let mut reply = Parcel {
        bytes: vec![7],
        attachments: Vec::new(),
    };
    let error = task
        .run(&[1], &[], &mut reply)
        .expect_err("cannot be read back");
    assert!(matches!(&error, RunError::Encode(cause) if cause.type_name().ends_with("Untagged")));
    assert_eq!(reply.bytes, [7]);
}

#[test]
fn a_panic_unwinds_through_run() {
    let task = TaskRef::of(|n: u8| -> u8 { panic!("number {n}") }).expect("ours");
    let task = task.resolve().expect("ours");
    let panic = std::panic::catch_unwind(|| task.run(&[3], &[], &mut Parcel::default()));
    let text = panic
        .expect_err("panics")
        .downcast::<String>()
        .expect("a formatted message");
    assert_eq!(*text, "number 3");
}

#[test]
fn a_function_of_a_shared_object_is_refused_by_its_name() {
    unsafe extern "C" {
        fn toupper(letter: i32) -> i32;
    }
    let address = toupper as *const ();
    if multiproc_sys::image::main().code_contains(address.addr()) {
        return; // A static program has no shared objects.
    }
    // SAFETY: a function pointer of either ABI is a code address that is not null, and this one is
    // never called.
    let function = unsafe { std::mem::transmute::<*const (), fn(i32) -> i32>(address) };
    match TaskRef::of(function) {
        Err(error @ FunctionError::SharedObject { .. }) => {
            let text = error.to_string();
            assert!(text.contains("libc.so"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_in_no_object_is_not_a_function() {
    let block = Box::new(0u64);
    // SAFETY: a function pointer may hold any address that is not null, and this one is never called.
    let function = unsafe { std::mem::transmute::<*const u64, fn(i32) -> i32>(&raw const *block) };
    assert_eq!(TaskRef::of(function), Err(FunctionError::NotAFunction));
}

/// A good reference, and another of another type.
fn good() -> [[u64; 3]; 2] {
    [TaskRef::of(fib), TaskRef::of(longest::<String>)].map(|task| task.expect("ours").to_words())
}

#[test]
fn words_of_different_functions_do_not_mix() {
    let [a, b] = good();
    for mixed in 1..7 {
        let words = std::array::from_fn(|i| if mixed & (1 << i) == 0 { a[i] } else { b[i] });
        let error = TaskRef::from_words(words).resolve().expect_err("mixed");
        assert!(error.is_wrong_program(), "{error}");
    }
}

#[test]
fn each_flipped_bit_is_found() {
    let [good, _] = good();
    for (word, bit) in (0..3).flat_map(|word| (0..64).map(move |bit| (word, bit))) {
        let mut words = good;
        words[word] ^= 1 << bit;
        TaskRef::from_words(words)
            .resolve()
            .expect_err("one bit is wrong");
    }
}

#[test]
fn no_other_place_in_the_program_is_a_descriptor() {
    let [good, _] = good();
    for offset in (0..1 << 22).step_by(8).filter(|&offset| offset != good[0]) {
        TaskRef::from_words([offset, good[1], good[2]])
            .resolve()
            .expect_err("not the one");
    }
}

proptest! {
    #[test]
    fn random_words_are_refused(words in any::<[u64; 3]>(), near in any::<[i16; 3]>()) {
        TaskRef::from_words(words).resolve().expect_err("random");
        let [good, _] = good();
        let words = std::array::from_fn(|i| good[i].wrapping_add_signed(near[i].into()));
        prop_assert_eq!(TaskRef::from_words(words).resolve().is_ok(), words == good);
    }
}
