//! Throws bytes at the decoder: random ones, and good ones with a few changed.
//!
//! Whatever comes must be an error or a value, never a panic, and a value must survive another
//! round. Runs for a second; `FUZZ_SECONDS` sets how long.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use multiproc_wire::task::TaskRef;
use multiproc_wire::{Attachment, Bytes, TaskFailure, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use support::Handle;

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Ping,
    Text(String),
    Pair(Option<i128>, char),
    Job {
        id: u64,
        task: TaskRef,
        lists: Vec<Vec<u16>>,
        flags: [bool; 3],
    },
    Handles(Vec<Handle>),
    Result(Result<Bytes, TaskFailure>),
    Empty(Vec<()>),
}

/// xorshift64*: good enough to be different each time, and repeatable from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.below(64);
        // Small bytes are discriminants and lengths more often than large ones.
        let small = self.next().is_multiple_of(2);
        (0..len)
            .map(|_| self.next() as u8 % if small { 8 } else { 255 })
            .collect()
    }

    /// Flips, inserts, removes, overwrites or copies within.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.insert(at, self.next() as u8),
                1 => bytes.extend_from_within(at..),
                _ if bytes.is_empty() => {}
                2 => bytes[at] ^= 1 << self.below(8),
                3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                _ => drop(bytes.remove(at)),
            }
        }
    }
}

fn throw<T: Serialize + DeserializeOwned + Debug + 'static>(bytes: &[u8], with: &[Attachment]) {
    let Ok(value) = codec::decode::<T>(bytes, with) else {
        return;
    };
    let again = codec::encode(&value).expect("a decoded value encodes");
    let back = codec::decode::<T>(&again.bytes, &again.attachments).expect("and decodes");
    assert_eq!(format!("{value:?}"), format!("{back:?}"), "from {bytes:?}");
}

fn seeds() -> Vec<(Vec<u8>, Vec<Attachment>)> {
    let task = TaskRef::of(|n: u32| n).expect("ours");
    let failure = TaskFailure::from(std::io::Error::other("disk"));
    let messages = [
        Message::Ping,
        Message::Text("zwölf".into()),
        Message::Pair(Some(i128::MIN), 'ß'),
        Message::Job {
            id: 7,
            task,
            lists: vec![vec![1, 500], vec![]],
            flags: [true; 3],
        },
        Message::Handles(vec![Handle::new("a"), Handle::new("b")]),
        Message::Result(Ok(Bytes::from(vec![9; 20]))),
        Message::Result(Err(failure)),
        Message::Empty(vec![(); 5]),
    ];
    let parcels = messages.map(|message| codec::encode(&message).expect("encodes"));
    parcels
        .into_iter()
        .map(|parcel| (parcel.bytes, parcel.attachments))
        .collect()
}

#[test]
fn any_bytes_are_a_value_or_an_error() {
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(seconds.unwrap_or(1.0));
    let seed = multiproc_sys::random::u64() | 1;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let seeds = seeds();
    while Instant::now() < end {
        for _ in 0..100 {
            let (mut bytes, with) = seeds[random.below(seeds.len())].clone();
            match random.below(3) {
                0 => bytes = random.bytes(),
                _ => random.mutate(&mut bytes),
            }
            throw::<Message>(&bytes, &with);
            throw::<Vec<Message>>(&bytes, &with);
            throw::<BTreeMap<String, Option<(u16, i64)>>>(&bytes, &with);
            throw::<(f32, Result<char, Box<str>>, [u8; 4])>(&bytes, &with);
            throw::<Vec<u8>>(&bytes, &with);
            throw::<Vec<(bool, Handle)>>(&bytes, &with);
            let _ = codec::decode::<HashMap<u8, Vec<Duration>>>(&bytes, &with);
            if let Ok(words) = codec::decode::<TaskRef>(&bytes, &with) {
                let _ = words.resolve();
            }
        }
    }
}
