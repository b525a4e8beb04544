//! Values come back as they were, in bytes that are postcard's.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use multiproc_wire::{Bytes, Parcel, codec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Newtype(String),
    Tuple(i8, Option<char>),
    Struct {
        id: u128,
        tags: Vec<String>,
        at: (f64, f32),
    },
    Nested(Box<Shape>),
    Many(Vec<Shape>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    unit: Unit,
    numbers: (u8, u16, u32, u64, i16, i32, i64, i128),
    blob: Bytes,
    list: Vec<u8>,
    map: BTreeMap<i32, Option<String>>,
    shapes: [Shape; 2],
    outcome: Result<bool, String>,
    #[serde(default, skip)]
    cache: u8,
    #[serde(rename = "other", alias = "more")]
    renamed: usize,
}

/// Sends `value` and takes it back; its bytes are those postcard writes.
fn travels<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static>(value: &T) {
    let parcel = codec::encode_checked(value).expect("encodes");
    assert_eq!(
        parcel.bytes,
        postcard::to_stdvec(value).expect("postcard encodes")
    );
    assert!(parcel.attachments.is_empty());
    assert_eq!(
        &codec::decode::<T>(&parcel.bytes, &[]).expect("decodes"),
        value
    );
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Empty),
        any::<String>().prop_map(Shape::Newtype),
        any::<(i8, Option<char>)>().prop_map(|(a, b)| Shape::Tuple(a, b)),
        (
            any::<u128>(),
            any::<Vec<String>>(),
            -1e300..1e300,
            -1e30f32..1e30
        )
            .prop_map(|(id, tags, x, y)| Shape::Struct {
                id,
                tags,
                at: (x, y)
            }),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|shape| Shape::Nested(Box::new(shape))),
            proptest::collection::vec(inner, 0..4).prop_map(Shape::Many),
        ]
    })
}

proptest! {
    #[test]
    fn enums_travel(shape in shapes()) {
        travels(&shape);
    }

    #[test]
    fn structs_travel(
        numbers in any::<(u8, u16, u32, u64, i16, i32, i64, i128)>(),
        blob in any::<Vec<u8>>(),
        map in any::<BTreeMap<i32, Option<String>>>(),
        shapes in [shapes(), shapes()],
        outcome in any::<Result<bool, String>>(),
        renamed in any::<usize>(),
    ) {
        let list = blob.clone();
        let blob = Bytes::from(blob);
        travels(&Record { unit: Unit, numbers, blob, list, map, shapes, outcome, cache: 0, renamed });
    }

    #[test]
    fn collections_travel(
        lists in any::<Vec<Vec<u16>>>(),
        map in any::<HashMap<String, (i64, bool)>>(),
        set in any::<BTreeSet<char>>(),
        queue in any::<VecDeque<Option<Option<u8>>>>(),
        text in any::<String>(),
    ) {
        travels(&lists);
        travels(&set);
        travels(&queue);
        travels(&text);
        travels(&Some(text.into_boxed_str()));
        travels(&map);
    }

    #[test]
    fn a_payload_is_its_own_encoding(payload in any::<Vec<u8>>(), before in any::<Vec<u8>>()) {
        let mut parcel = Parcel { bytes: before.clone(), ..Parcel::default() };
        codec::encode_into(&payload, &mut parcel).expect("bytes encode");
        prop_assert_eq!(&parcel.bytes, &[&*before, &*payload].concat());

        let bytes = Bytes::from(payload.clone());
        let parcel = codec::encode(&bytes).expect("bytes encode");
        prop_assert_eq!(&parcel.bytes, &payload);
        prop_assert_eq!(codec::decode::<Vec<u8>>(&payload, &[]), Ok(payload.clone()));
        prop_assert_eq!(codec::decode::<Bytes>(&payload, &[]), Ok(bytes.clone()));
        prop_assert_eq!(codec::raw_bytes(&bytes), Some(&*payload));
        let at = payload.as_ptr();
        let moved = codec::encode_owned(payload).unwrap();
        prop_assert_eq!(moved.bytes.as_ptr(), at, "not copied");
        prop_assert_eq!(&codec::encode_owned(bytes.clone()).unwrap().bytes, &moved.bytes);
        prop_assert_eq!(codec::from_raw_bytes::<Bytes>(moved.bytes), Ok(bytes));
    }

    #[test]
    fn no_proper_part_of_a_value_is_one(shape in shapes(), more in 1u8..) {
        let mut bytes = codec::encode(&shape).expect("encodes").bytes;
        for end in 0..bytes.len() {
            codec::decode::<Shape>(&bytes[..end], &[]).expect_err("too short");
        }
        let len = bytes.len();
        bytes.resize(len + usize::from(more), 0);
        let error = codec::decode::<Shape>(&bytes, &[]).expect_err("too long");
        prop_assert_eq!(error.reason(), format!("{more} of {} bytes are left over", bytes.len()));
    }
}

#[test]
fn types_of_the_standard_library_travel() {
    travels(&());
    travels(&[(); 3]);
    travels(&vec![(); 1000]);
    travels(&(f64::INFINITY, f32::MIN_POSITIVE, -0.0f64));
    travels(&(Duration::MAX, SystemTime::UNIX_EPOCH));
    travels(&["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
    travels(&PathBuf::from("/tmp/ü"));
    travels(&OsString::from("x"));
    travels(&Range { start: 1, end: 9 });
    travels(&NonZeroU32::MIN);
    travels(&('\0', char::MAX));
}

#[test]
fn only_payloads_are_raw() {
    let encoded = codec::encode(&(7, "text".to_owned())).unwrap();
    let owned = codec::encode_owned((7, "text".to_owned())).unwrap();
    assert_eq!(owned.bytes, encoded.bytes);
    assert_eq!(codec::raw_bytes(&"text".to_owned()), None);
    assert_eq!(codec::raw_bytes(&[1u8, 2]), None);
    assert_eq!(codec::from_raw_bytes::<String>(vec![1]), Err(vec![1]));
    assert_eq!(
        codec::from_raw_bytes::<Option<Bytes>>(vec![1]),
        Err(vec![1])
    );
}

#[test]
fn values_in_one_parcel_keep_their_order() {
    let mut parcel = Parcel::default();
    codec::encode_into(&1u64, &mut parcel).expect("encodes");
    let first = parcel.bytes.len();
    codec::encode_into(&"two".to_owned(), &mut parcel).expect("encodes");
    assert_eq!(codec::decode::<u64>(&parcel.bytes[..first], &[]), Ok(1));
    assert_eq!(
        codec::decode::<String>(&parcel.bytes[first..], &[]),
        Ok("two".to_owned())
    );
}
