//! What the format cannot carry is refused, with a text that says why, and leaves nothing behind.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroU8;
use std::path::PathBuf;

use multiproc_wire::{Parcel, codec};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};

fn refused<T: Serialize + serde::de::DeserializeOwned + 'static>(value: &T) -> String {
    let before = Parcel {
        bytes: vec![1, 2, 3],
        attachments: vec![std::sync::Arc::new(4)],
    };
    let mut parcel = before.clone();
    let error = codec::encode_checked_into(value, &mut parcel).expect_err("must be refused");
    assert_eq!(parcel.bytes, before.bytes);
    assert_eq!(parcel.attachments.len(), 1);
    assert_eq!(error.type_name(), std::any::type_name::<T>());
    error.to_string()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    x: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: Inner,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i32),
    Text(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Point { x: i32 },
    Inner(Inner),
    Nothing,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    Point { x: i32 },
    Number(i32),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    id: u8,
}

#[test]
fn flatten_is_refused_by_the_sender() {
    let text = refused(&Flat {
        id: 1,
        rest: Inner { x: 2 },
    });
    assert!(
        text.starts_with("cannot encode `refusals::Flat`: a map does not say"),
        "{text}"
    );
    assert!(text.contains("`flatten`"), "{text}");
}

#[test]
fn tag_and_untagged_are_refused_by_a_sender_that_checks() {
    for text in [
        refused(&Untagged::Number(1)),
        refused(&vec![Untagged::Text("a".into())]),
        refused(&Tagged::Point { x: 1 }),
        refused(&Tagged::Inner(Inner { x: 1 })),
        refused(&Some(Tagged::Nothing)),
        refused(&Adjacent::Number(1)),
        refused(&Some(Adjacent::Point { x: 1 })),
    ] {
        assert!(text.contains("asks what comes next"), "{text}");
        assert!(text.contains("`untagged`, `tag` and `flatten`"), "{text}");
    }
}

#[test]
fn tag_and_untagged_are_refused_by_the_receiver_at_the_latest() {
    let parcel = codec::encode(&Untagged::Number(1)).expect("writes like an i32");
    let error = codec::decode::<Untagged>(&parcel.bytes, &[]).expect_err("cannot be read");
    assert!(
        error
            .to_string()
            .starts_with("cannot decode `refusals::Untagged`: it asks"),
        "{error}"
    );

    // The first value of a type is the one that is checked; this one gives no reason for doubt.
    let fine = codec::encode_checked(&None::<Tagged>).expect("nothing is tagged");
    assert_eq!(codec::decode::<Option<Tagged>>(&fine.bytes, &[]), Ok(None));
    let parcel = codec::encode_checked(&Some(Tagged::Nothing)).expect("the type was seen before");
    codec::decode::<Option<Tagged>>(&parcel.bytes, &[]).expect_err("cannot be read");
}

#[test]
fn a_skipped_field_is_refused_before_it_is_misread() {
    let text = refused(&Skips { note: None, id: 7 });
    assert!(
        text.contains("`skip_serializing_if` leaves out the field `note`"),
        "{text}"
    );
    let whole = Skips {
        note: Some("kept".into()),
        id: 7,
    };
    let parcel = codec::encode_checked(&whole).expect("nothing was skipped");
    assert_eq!(codec::decode(&parcel.bytes, &[]), Ok(whole));
}

/// Lies about its length.
#[derive(Debug, Deserialize)]
struct Miscounted(#[expect(dead_code, reason = "only its type is read")] HashMap<u8, u8>);

impl Serialize for Miscounted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry(&1u8, &2u8)?;
        map.end()
    }
}

/// Does not know its length.
#[derive(Debug, Deserialize)]
struct Uncounted(#[expect(dead_code, reason = "only its type is read")] Vec<u8>);

impl Serialize for Uncounted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_seq(None)?.end()
    }
}

#[test]
fn lengths_must_be_known_and_true() {
    let text = refused(&Miscounted(HashMap::new()));
    assert!(
        text.ends_with("a map announced 3 elements and had another number"),
        "{text}"
    );
    let text = refused(&Uncounted(Vec::new()));
    assert!(
        text.contains("a sequence does not say how long it is"),
        "{text}"
    );
}

#[test]
fn elements_without_bytes_are_bounded_on_both_sides() {
    let text = refused(&vec![(); (1 << 20) + 1]);
    assert!(text.contains("take no bytes"), "{text}");
    let announced = codec::encode(&u64::MAX).expect("encodes").bytes;
    let error = codec::decode::<Vec<()>>(&announced, &[]).expect_err("too many");
    assert!(error.reason().contains("take no bytes"), "{error}");
}

#[test]
fn the_text_of_a_types_own_error_is_kept() {
    use std::os::unix::ffi::OsStringExt;
    let path = PathBuf::from(std::ffi::OsString::from_vec(vec![0xff]));
    let text = refused(&path);
    assert!(text.contains("path contains invalid UTF-8"), "{text}");

    let cell = RefCell::new(1);
    let guard = cell.borrow_mut();
    let error = codec::encode(&cell).expect_err("is borrowed");
    assert!(
        error.reason().contains("already mutably borrowed"),
        "{error}"
    );
    drop(guard);

    let error = codec::decode::<NonZeroU8>(&[0], &[]).expect_err("is zero");
    assert!(error.reason().contains("nonzero"), "{error}");
}

#[test]
fn damaged_bytes_say_what_is_wrong() {
    let reason = |result: Result<String, _>| -> String {
        let error: multiproc_wire::DecodeError = result.expect_err("damaged");
        error.reason().to_owned()
    };
    assert_eq!(
        reason(codec::decode(&[5, b'a'], &[])),
        "the bytes end before the value does"
    );
    assert_eq!(
        reason(codec::decode(&[1, 0xff], &[])),
        "text that is not UTF-8"
    );
    let error = codec::decode::<bool>(&[2], &[]).expect_err("damaged");
    assert_eq!(
        error.to_string(),
        "cannot decode `bool`: a truth value that is neither 0 nor 1"
    );
    let error = codec::decode::<Option<u8>>(&[2, 0], &[]).expect_err("damaged");
    assert_eq!(
        error.reason(),
        "an option with a discriminant it does not have"
    );
    let error = codec::decode::<Result<u8, u8>>(&[2, 0], &[]).expect_err("damaged");
    assert!(error.reason().contains("expected `Ok` or `Err`"), "{error}");
    let error = codec::decode::<u32>(&[0xff; 6], &[]).expect_err("damaged");
    assert_eq!(error.reason(), "a number too large for its type");
}

#[test]
fn errors_travel() {
    let error = codec::decode::<bool>(&[2], &[]).expect_err("damaged");
    let parcel = codec::encode(&error).expect("encodes");
    assert_eq!(codec::decode(&parcel.bytes, &[]), Ok(error));
}

/// Writes something, then refuses or panics.
#[derive(Debug, Deserialize)]
struct Halfway {
    panic: bool,
}

impl Serialize for Halfway {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(2))?;
        list.serialize_element("written before")?;
        codec::attach(std::sync::Arc::new(1)).map_err(S::Error::custom)?;
        assert!(!self.panic, "as asked");
        Err(S::Error::custom("half is enough"))
    }
}

#[test]
fn nothing_is_left_of_a_value_that_fails_halfway() {
    let text = refused(&Halfway { panic: false });
    assert!(text.ends_with("half is enough"), "{text}");

    let mut parcel = Parcel {
        bytes: vec![1],
        attachments: vec![std::sync::Arc::new(4)],
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        codec::encode_into(&Halfway { panic: true }, &mut parcel)
    }));
    assert!(outcome.is_err());
    assert_eq!((parcel.bytes.len(), parcel.attachments.len()), (1, 1));
    assert!(
        codec::attach(std::sync::Arc::new(5))
            .expect_err("closed")
            .is_outside_channel()
    );
}
