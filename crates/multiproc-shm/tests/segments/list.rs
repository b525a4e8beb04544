//! Lists: what slots hold, and several who set and get at once.

use std::sync::atomic::{AtomicBool, Ordering};

use multiproc_shm::testing::{self, alone};
use multiproc_shm::{ListError, ListItem, ShareableList, SharedMemory, parcel};
use multiproc_wire::codec;

use crate::Name;

fn all_kinds() -> Vec<ListItem> {
    vec![
        ListItem::None,
        true.into(),
        false.into(),
        i64::MIN.into(),
        (-0.5).into(),
        "zwölf\0".into(),
        b"\0\xff\0".into(),
        "".into(),
    ]
}

fn items(list: &ShareableList) -> Vec<ListItem> {
    list.iter().collect::<Result<_, _>>().expect("true values")
}

/// The same test on a list of each kind of memory.
fn each(items: &[ListItem], room: usize, test: impl Fn(&ShareableList)) {
    alone(|| {
        let name = Name::new("list");
        let list = ShareableList::builder().room(room);
        test(&list.clone().create(items.iter().cloned()).expect("a list"));
        test(&(list.name(&name.0).create(items.iter().cloned())).expect("a list"));
    });
}

#[test]
fn every_kind_of_value_comes_back() {
    each(&all_kinds(), 0, |list| {
        assert_eq!(items(list), all_kinds());
        assert_eq!(list.len(), all_kinds().len());
        for (index, item) in all_kinds().into_iter().rev().enumerate() {
            for _ in 0..3 {
                list.set(index, item.clone())
                    .expect("each has room for 8 bytes");
                assert_eq!(list.get(index), Ok(item.clone()));
            }
        }
    });
}

#[test]
fn a_slot_has_the_room_of_its_first_value_or_more() {
    let items: Vec<ListItem> = vec![1.into(), "0123456789".into()];
    each(&items, 0, |list| {
        assert_eq!((list.room(0), list.room(1)), (Ok(8), Ok(16)));
        list.set(1, "x".repeat(16)).expect("it fits");
        let error = list.set(1, "x".repeat(17)).expect_err("too long");
        assert_eq!(error, ListError::TooLong { len: 17, room: 16 });
        assert_eq!(list.get_as::<String>(1), Ok("x".repeat(16)));
        let error = list.set(2, 1).expect_err("no such slot");
        assert!(error.is_out_of_range(), "{error}");
        assert_eq!(
            list.get(usize::MAX),
            Err(ListError::OutOfRange {
                index: usize::MAX,
                len: 2
            })
        );
    });
    each(&items, 100, |list| {
        assert_eq!((list.room(0), list.room(1)), (Ok(104), Ok(104)));
        list.set(0, vec![7; 104]).expect("it fits");
        assert_eq!(list.get_as::<Vec<u8>>(0), Ok(vec![7; 104]));
    });
}

#[test]
fn values_are_found_and_counted_by_type_and_value() {
    let items = [
        1.into(),
        2.into(),
        ListItem::from("1"),
        1.into(),
        1.0.into(),
    ];
    each(&items, 0, |list| {
        assert_eq!(
            (list.count(1), list.count("1"), list.count(3)),
            (Ok(2), Ok(1), Ok(0))
        );
        assert_eq!((list.index(1.0), list.index(true)), (Ok(Some(4)), Ok(None)));
        let error = list.get_as::<i64>(2).expect_err("a text");
        assert!(error.is_wrong_type(), "{error}");
        assert_eq!(error.to_string(), "expected an integer, found a text");
    });
}

#[test]
fn a_list_may_be_empty_or_large() {
    each(&[], 0, |list| {
        assert!(list.is_empty());
        assert!(list.get(0).expect_err("none").is_out_of_range());
    });
    let text = "0123456789".repeat(100_000);
    each(&[ListItem::from(&text[..])], 0, |list| {
        assert_eq!(list.get_as::<String>(0).as_ref(), Ok(&text));
        list.set(0, 5).expect("it fits");
        list.set(0, &text[1..]).expect("it fits");
        assert_eq!(list.get_as::<String>(0).as_deref(), Ok(&text[1..]));
    });
}

#[test]
fn a_list_travels_and_is_opened_by_name_but_not_as_bytes() {
    each(&all_kinds(), 0, |list| {
        let stored = parcel::store(&codec::encode(list).expect("encodes")).expect("stored");
        let loaded = parcel::load(&stored).expect("loads");
        let arrived: ShareableList =
            codec::decode(&loaded.bytes, &loaded.attachments).expect("decodes");
        arrived.set(0, 99).expect("it fits");
        assert_eq!(items(&arrived), items(list));
        assert!(format!("{list:?}").starts_with("ShareableList [Int(99), Bool(true)"));
        if let Some(name) = list.name() {
            let opened = ShareableList::open(name).expect("it is there");
            assert_eq!(items(&opened), items(list));
            let error = SharedMemory::open(name).expect_err("a list");
            assert!(error.is_incompatible(), "{error}");
        }
    });
    let name = Name::new("bytes");
    let _bytes = SharedMemory::create_named(&name.0, 100).expect("a free name");
    let error = ShareableList::open(&name.0).expect_err("bytes");
    assert!(error.is_incompatible(), "{error}");
}

/// A text by which a mixture of two numbers, each of six digits, would be noticed.
fn text(number: u64) -> String {
    number.to_string().repeat(30)
}

fn number(text: &str) -> u64 {
    let number = text.get(..6).and_then(|digits| digits.parse().ok());
    let number = number.filter(|&number| self::text(number) == text);
    number.unwrap_or_else(|| panic!("a mixture: {text}"))
}

#[test]
fn one_who_gets_while_others_set_sees_whole_values_in_order() {
    const FIRST: u64 = 100_000;
    each(&[text(FIRST).into()], 200, |list| {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut last = FIRST;
                        while !done.load(Ordering::Acquire) {
                            let now = number(&list.get_as::<String>(0).expect("a text"));
                            assert!(now >= last, "{now} after {last}");
                            last = now;
                        }
                    })
                })
                .collect();
            let set = |numbers: std::ops::Range<u64>| {
                numbers.for_each(|number| list.set(0, text(number)).expect("it fits"));
            };
            set(FIRST..FIRST + 2_000);
            done.store(true, Ordering::Release);
            readers
                .into_iter()
                .for_each(|reader| reader.join().expect("in order"));
        });
    });
}

#[test]
fn several_who_set_leave_the_value_of_one() {
    each(&[ListItem::from("")], 200, |list| {
        let theirs = list.clone();
        let child = testing::fork(move || {
            for number in 100_000..101_000 {
                theirs.set(0, text(number)).expect("it fits");
            }
        });
        std::thread::scope(|scope| {
            for begin in [200_000, 300_000] {
                scope.spawn(move || {
                    for number in begin..begin + 1_000 {
                        list.set(0, text(number)).expect("it fits");
                        self::number(&list.get_as::<String>(0).expect("a text"));
                    }
                });
            }
        });
        assert!(child.join());
        let last = number(&list.get_as::<String>(0).expect("a text"));
        assert!([100_999, 200_999, 300_999].contains(&last), "{last}");
    });
}
