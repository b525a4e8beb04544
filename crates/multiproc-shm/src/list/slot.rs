//! One value of a list: two copies, the newer of which counts if it is whole.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..24 | head of copy 0: number, type and length, checksum |
//! | 24..48 | head of copy 1 |
//! | 48.. | bytes of copy 0, then of copy 1: `room` each |
//!
//! A copy is whole if its checksum is that of its number, type, length and bytes. Writers, of whom there is
//! one at a time (`SharedMemory::exclusive`), write the copy that does *not* count, bytes first,
//! with the next number. Readers take no lock. They take the newer copy, and where that is not whole, the
//! other: then the newer is being written, or its writer died. Where both are not whole, two writers
//! have passed by during the look, and the reader looks again; at last it looks under the lock, where
//! nobody passes by.
//!
//! No word selects a copy, so nothing has to be ordered: whatever mixture of old and new bytes a reader
//! sees, its checksum is wrong.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | before the first byte | the old value |
//! | anywhere in between | the old value: the new copy is not whole. The next writer writes over it |
//! | after the last byte | the new value |

use super::error::ListError;
use super::item::ListItem;
use crate::segment::{SharedMemory, checksum};

const HEAD: usize = 24;
const HEADS: usize = 2 * HEAD;

/// Bytes of a slot with the least room, 8 bytes.
pub(super) const SMALLEST: usize = HEADS + 2 * 8;

/// How often a reader looks before it takes the lock.
const LOOKS: usize = 16;

/// The type stands in the upper byte of the length.
const LEN_BITS: u32 = 56;

/// Bytes of a slot whose values have up to `room`, rounded up to 8.
pub(super) fn size(room: usize) -> Option<usize> {
    let room = room.checked_next_multiple_of(8)?;
    let fits = (room as u64) < 1 << LEN_BITS;
    room.max(8)
        .checked_mul(2)?
        .checked_add(HEADS)
        .filter(|_| fits)
}

/// The room of a slot of `size` bytes.
pub(super) fn room(size: usize) -> usize {
    (size - HEADS) / 2
}

/// A slot in the memory of a list.
pub(super) struct Slot<'a> {
    memory: &'a SharedMemory,
    at: usize,
    room: usize,
}

#[derive(Clone, Copy)]
struct Head {
    number: u64,
    what: u64,
    check: u64,
}

/// A copy that is whole.
struct Found {
    copy: usize,
    number: u64,
    item: Result<ListItem, ListError>,
}

impl Head {
    fn from_bytes(bytes: &[u8]) -> Head {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        Head {
            number: word(0),
            what: word(8),
            check: word(16),
        }
    }

    fn of(number: u64, kind: u8, bytes: &[u8]) -> Head {
        let what = u64::from(kind) << LEN_BITS | bytes.len() as u64;
        let check = Head::check(number, what, bytes);
        Head {
            number,
            what,
            check,
        }
    }

    fn check(number: u64, what: u64, bytes: &[u8]) -> u64 {
        checksum(checksum(number, &what.to_le_bytes()), bytes)
    }

    fn to_bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let words = [self.number, self.what, self.check];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn kind(self) -> u8 {
        (self.what >> LEN_BITS) as u8
    }

    fn len(self) -> u64 {
        self.what & ((1 << LEN_BITS) - 1)
    }
}

impl<'a> Slot<'a> {
    pub(super) fn new(memory: &'a SharedMemory, at: usize, room: usize) -> Slot<'a> {
        Slot { memory, at, room }
    }

    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// The value now.
    pub(super) fn get(&self) -> Result<ListItem, ListError> {
        for _ in 0..LOOKS {
            if let Some(found) = self.look()? {
                return found.item;
            }
            std::thread::yield_now();
        }
        let _held = self.memory.exclusive()?;
        match self.look()? {
            Some(found) => found.item,
            None => Err(ListError::Corrupt("neither copy of the value is whole")),
        }
    }

    /// Changes the value, by the one writer there is.
    pub(super) fn set(&self, item: &ListItem) -> Result<(), ListError> {
        let (kind, bytes) = item.to_bytes();
        self.check_room(bytes.len())?;
        let (copy, number) = match self.look()? {
            Some(found) => (1 - found.copy, found.number.wrapping_add(1)),
            // Damaged: the new value is the only one that counts from now on.
            None => {
                self.memory.write_at(self.at + HEAD, &[0; HEAD])?;
                (0, 1)
            }
        };
        self.write(copy, number, kind, &bytes)
    }

    /// The first value, in memory that is all zero and nobody else's.
    pub(super) fn fill(&self, item: &ListItem) -> Result<(), ListError> {
        let (kind, bytes) = item.to_bytes();
        self.write(0, 1, kind, &bytes)
    }

    fn check_room(&self, len: usize) -> Result<(), ListError> {
        if len <= self.room {
            return Ok(());
        }
        Err(ListError::TooLong {
            len,
            room: self.room,
        })
    }

    fn body(&self, copy: usize) -> usize {
        self.at + HEADS + copy * self.room
    }

    fn write(&self, copy: usize, number: u64, kind: u8, bytes: &[u8]) -> Result<(), ListError> {
        self.memory.write_at(self.body(copy), bytes)?;
        let head = Head::of(number, kind, bytes).to_bytes();
        self.memory.write_at(self.at + copy * HEAD, &head)?;
        Ok(())
    }

    /// The newer copy that is whole, or none.
    fn look(&self) -> Result<Option<Found>, ListError> {
        let mut bytes = [0; HEADS];
        self.memory.read_at(self.at, &mut bytes)?;
        let heads = [&bytes[..HEAD], &bytes[HEAD..]].map(Head::from_bytes);
        // Numbers wrap: the distance says which is newer.
        let newer = usize::from((heads[1].number.wrapping_sub(heads[0].number) as i64) > 0);
        for copy in [newer, 1 - newer] {
            if let Some(item) = self.read_copy(copy, heads[copy])? {
                let number = heads[copy].number;
                return Ok(Some(Found { copy, number, item }));
            }
        }
        Ok(None)
    }

    fn read_copy(
        &self,
        copy: usize,
        head: Head,
    ) -> Result<Option<Result<ListItem, ListError>>, ListError> {
        if head.len() > self.room as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; head.len() as usize];
        self.memory.read_at(self.body(copy), &mut bytes)?;
        let whole = Head::check(head.number, head.what, &bytes) == head.check;
        Ok(whole.then(|| ListItem::from_bytes(head.kind(), bytes)))
    }
}
