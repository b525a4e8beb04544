//! Handles travel beside the bytes, in order, and nowhere else.

mod support;

use std::sync::Arc;

use multiproc_wire::{NotTravelling, Parcel, codec};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use support::Handle;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Job<T> {
    before: Vec<Handle>,
    value: T,
    after: Option<Handle>,
}

#[test]
fn handles_come_back_in_their_places() {
    let [a, b, c] = ["a", "b", "c"].map(Handle::new);
    let job = Job {
        before: vec![a.clone(), b.clone(), a],
        value: (1, c),
        after: Some(b),
    };
    let parcel = codec::encode_checked(&job).expect("encodes");
    assert_eq!(parcel.attachments.len(), 5);
    let back: Job<(i32, Handle)> =
        codec::decode(&parcel.bytes, &parcel.attachments).expect("decodes");
    assert_eq!(back, job);
}

#[test]
fn values_in_one_parcel_share_its_attachments() {
    let (a, b) = (Handle::new("a"), Handle::new("b"));
    let mut parcel = Parcel::default();
    codec::encode_into(&a, &mut parcel).expect("encodes");
    let first = parcel.bytes.len();
    codec::encode_into(&b, &mut parcel).expect("encodes");
    let (one, two) = parcel.bytes.split_at(first);
    assert_eq!(codec::decode::<Handle>(one, &parcel.attachments), Ok(a));
    assert_eq!(codec::decode::<Handle>(two, &parcel.attachments), Ok(b));
}

#[test]
fn a_handle_lives_as_long_as_its_parcel() {
    let handle = Handle::new("a");
    let watch = Arc::downgrade(&handle.0);
    let parcel = codec::encode_checked(&handle).expect("encodes");
    drop(handle);
    assert_eq!(watch.strong_count(), 1);
    let back: Handle = codec::decode(&parcel.bytes, &parcel.attachments).expect("decodes");
    assert_eq!(watch.strong_count(), 2);
    drop((parcel, back));
    assert_eq!(watch.strong_count(), 0);
}

#[test]
fn a_handle_that_did_not_come_along_is_an_error() {
    let parcel = codec::encode(&Handle::new("a")).expect("encodes");
    let error = codec::decode::<Handle>(&parcel.bytes, &[]).expect_err("left behind");
    assert_eq!(error.reason(), NotTravelling::NoSuchAttachment.to_string());
    let other: [multiproc_wire::Attachment; 1] = [Arc::new(5u8)];
    let error = codec::decode::<Handle>(&parcel.bytes, &other).expect_err("another kind");
    assert_eq!(error.reason(), "an attachment of another kind");
}

#[test]
fn outside_our_channels_a_handle_says_so() {
    let error = codec::attach(Arc::new(1)).expect_err("nothing is being encoded");
    assert!(error.is_outside_channel());
    assert!(
        error
            .to_string()
            .contains("only through multiproc's own channels"),
        "{error}"
    );
    assert_eq!(codec::attached(0).expect_err("nor decoded"), error);
    postcard::to_stdvec(&Handle::new("a")).expect_err("postcard is not ours");
}

/// Travels as a parcel of its own inside the outer value, as a type may that stores encoded values.
#[derive(Debug, PartialEq)]
struct Wrapped(Handle);

impl Serialize for Wrapped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = codec::encode(&self.0).map_err(S::Error::custom)?;
        assert_eq!(inner.attachments.len(), 1);
        codec::encode(&Failing).expect_err("always");
        let caught = std::panic::catch_unwind(|| codec::encode(&Panicking));
        assert!(caught.is_err());
        let attachment = inner.attachments.into_iter().next().expect("there is one");
        let index = codec::attach(attachment).map_err(S::Error::custom)?;
        (index, inner.bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wrapped, D::Error> {
        let (index, bytes) = <(u32, Vec<u8>)>::deserialize(deserializer)?;
        codec::decode::<bool>(&[9], &[]).expect_err("no truth value");
        let attachment = codec::attached(index).map_err(D::Error::custom)?;
        codec::decode(&bytes, &[attachment])
            .map(Wrapped)
            .map_err(D::Error::custom)
    }
}

struct Failing;

impl Serialize for Failing {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        codec::attach(Arc::new(1)).map_err(S::Error::custom)?;
        Err(S::Error::custom("always"))
    }
}

struct Panicking;

impl Serialize for Panicking {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        codec::attach(Arc::new(1)).expect("inside an encoding");
        panic!("as asked")
    }
}

#[test]
fn an_encoding_inside_another_leaves_it_alone() {
    let [a, b, c] = ["a", "b", "c"].map(Handle::new);
    let value = (a, Wrapped(b), c);
    let parcel = codec::encode(&value).expect("encodes");
    assert_eq!(parcel.attachments.len(), 3);
    assert_eq!(codec::decode(&parcel.bytes, &parcel.attachments), Ok(value));
}

#[test]
fn a_value_with_handles_is_checked_up_to_the_first() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(i32),
    }
    let (number, handle) = (Untagged::Number(1), Handle::new("a"));
    let error = codec::encode_checked(&(number, handle)).expect_err("comes before the handle");
    assert!(error.reason().contains("`untagged`"), "{error}");
}

#[test]
fn a_dying_thread_still_encodes() {
    struct AtExit(std::sync::mpsc::Sender<(bool, bool)>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            let plain = codec::encode_checked(&7u32).is_ok();
            let handle = codec::encode(&Handle::new("late"));
            // Whether the scope is gone by now is the platform's choice; neither answer may panic.
            let _ = self.0.send((plain, handle.is_ok() || handle.is_err()));
        }
    }
    thread_local! {
        static LATE: std::cell::RefCell<Option<AtExit>> = const { std::cell::RefCell::new(None) };
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        LATE.with(|late| *late.borrow_mut() = Some(AtExit(sender)));
        codec::encode_checked(&1u8).expect("encodes");
    })
    .join()
    .expect("does not panic");
    assert_eq!(receiver.recv(), Ok((true, true)));
}
