//! The task frame: what a chunk looks like in the task ring.
//!
//! ```text
//! header   job u64, function 3 x u64, start u32, count u32, flags u32, 0 u32
//! body     the encoded items one after the other, then the lengths of all but the last as u32
//! ```
//!
//! All little-endian. Both stand in the ring, or both in the parcel the frame refers to. A chunk that
//! is pushed again is the same frame with another `start`: how many of its items are answered.
//! Frames come from shared memory: every length is checked before it is used.

use crate::chunk::MOST_ITEMS;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Which call it belongs to.
    pub(crate) job: u64,
    /// The function, as words.
    pub(crate) function: [u64; 3],
    /// The first item to run.
    pub(crate) start: u32,
    /// How many items the body has.
    pub(crate) count: u32,
    /// Ring the bell after each item.
    pub(crate) eager: bool,
    /// Say how long the chunk took.
    pub(crate) timed: bool,
    /// Say when each item ran.
    pub(crate) traced: bool,
}

/// The length of a header.
pub(crate) const HEADER: usize = 48;

/// Where `start` stands.
const START: usize = 32;

const EAGER: u32 = 1;
const TIMED: u32 = 2;
const TRACED: u32 = 4;

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let flags = u32::from(self.eager) * EAGER
            + u32::from(self.timed) * TIMED
            + u32::from(self.traced) * TRACED;
        let [f0, f1, f2] = self.function;
        let mut bytes = [0; HEADER];
        let words = [self.job, f0, f1, f2];
        let halves = [self.start, self.count, flags];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for (place, half) in bytes[START..].chunks_exact_mut(4).zip(halves) {
            place.copy_from_slice(&half.to_le_bytes());
        }
        bytes
    }

    /// `None`: no header of ours.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER)?;
        let flags = half(bytes, START + 8)?;
        let header = Header {
            job: word(bytes, 0)?,
            function: [word(bytes, 8)?, word(bytes, 16)?, word(bytes, 24)?],
            start: half(bytes, START)?,
            count: half(bytes, START + 4)?,
            eager: flags & EAGER != 0,
            timed: flags & TIMED != 0,
            traced: flags & TRACED != 0,
        };
        let possible = header.start < header.count && header.count as usize <= MOST_ITEMS;
        possible.then_some(header)
    }
}

/// Makes a frame begin with item `start`.
pub(crate) fn set_start(frame: &mut [u8], start: u32) {
    frame[START..START + 4].copy_from_slice(&start.to_le_bytes());
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Turns encoded items, one after the other from `start` on, into a body.
pub(crate) fn append_lengths(body: &mut Vec<u8>, mut start: usize, ends: &[usize]) {
    for &end in ends.split_last().map_or(ends, |(_, rest)| rest) {
        let len = u32::try_from(end - start).expect("only the last item of a chunk may be large");
        body.extend_from_slice(&len.to_le_bytes());
        start = end;
    }
}

/// The items of a body, in order.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    bodies: &'a [u8],
    lengths: &'a [u8],
    left: u32,
}

impl<'a> Items<'a> {
    /// `None`: the body is shorter than its table.
    pub(crate) fn of(body: &'a [u8], count: u32) -> Option<Items<'a>> {
        let table = (count.checked_sub(1)? as usize).checked_mul(4)?;
        let (bodies, lengths) = body.split_at_checked(body.len().checked_sub(table)?)?;
        Some(Items {
            bodies,
            lengths,
            left: count,
        })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let len = match self.lengths.split_first_chunk() {
            Some((len, rest)) => {
                self.lengths = rest;
                u32::from_le_bytes(*len) as usize
            }
            None => self.bodies.len(),
        };
        let (item, rest) = self.bodies.split_at_checked(len)?;
        self.bodies = rest;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            job: 3,
            function: [1, 2, u64::MAX],
            start: 4,
            count: 9,
            eager: true,
            timed: false,
            traced: true,
        }
    }

    fn body_of(items: &[Vec<u8>]) -> Vec<u8> {
        let ends: Vec<usize> = items
            .iter()
            .scan(0, |end, item| {
                *end += item.len();
                Some(*end)
            })
            .collect();
        let mut body = items.concat();
        append_lengths(&mut body, 0, &ends);
        body
    }

    #[test]
    fn a_header_comes_back() {
        assert_eq!(Header::from_bytes(&header().to_bytes()), Some(header()));
    }

    #[test]
    fn a_frame_can_begin_later() {
        let mut bytes = header().to_bytes();
        set_start(&mut bytes, 8);
        assert_eq!(
            Header::from_bytes(&bytes),
            Some(Header {
                start: 8,
                ..header()
            })
        );
    }

    #[test]
    fn impossible_headers_are_refused() {
        let bytes = header().to_bytes();
        assert_eq!(Header::from_bytes(&bytes[..HEADER - 1]), None);
        let nothing_left = Header {
            start: 9,
            ..header()
        };
        assert_eq!(Header::from_bytes(&nothing_left.to_bytes()), None);
        let too_many = Header {
            count: 1 << 16,
            ..header()
        };
        assert_eq!(Header::from_bytes(&too_many.to_bytes()), None);
    }

    #[test]
    fn a_lone_item_needs_no_table() {
        assert_eq!(body_of(&[vec![1, 2, 3]]), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn items_come_back(items: Vec<Vec<u8>>) {
            prop_assume!(!items.is_empty());
            let body = body_of(&items);
            let read = Items::of(&body, items.len() as u32).expect("a sound body");
            prop_assert!(read.eq(items.iter().map(Vec::as_slice)));
        }

        #[test]
        fn any_bytes_are_read_without_harm(body: Vec<u8>, count in 0..100_u32) {
            if let Some(items) = Items::of(&body, count) {
                prop_assert!(items.map(<[u8]>::len).sum::<usize>() <= body.len());
            }
        }
    }
}
