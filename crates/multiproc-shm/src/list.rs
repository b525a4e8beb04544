//! A fixed number of values in shared memory, each of its own type and size.
//!
//! Owns where the slots lie, which is read and checked once, when a list is opened, and never believed
//! again. What a slot holds is [`slot`]'s.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..8 | `mpList`, version, 0 |
//! | 8..16 | how many slots |
//! | then 8 for each slot | how many bytes a value may have, a multiple of 8 |
//! | then the slots | see [`slot`] |
//!
//! The table is written once by the maker, before anybody else knows of the memory.

mod error;
mod item;
mod slot;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{CreateError, OpenError};
use crate::segment::{Content, SharedMemory};

use slot::Slot;

pub use error::ListError;
pub use item::ListItem;

const MAGIC: u64 = u64::from_le_bytes(*b"mpList\x01\0");

/// Where the table begins.
const TABLE: usize = 16;

/// A list of fixed length that processes share: numbers, truth values, texts, bytes and nothing.
///
/// Each slot has the room of the value it was made with (at least 8 bytes, or what the [`ListBuilder`]
/// says) and takes any value that fits, of whatever type. Made without a name it belongs to the family
/// and travels inside values; with a name, any program of the same user can open it.
///
/// # Examples
///
/// ```
/// use multiproc_shm::{ListItem, ShareableList};
///
/// let list = ShareableList::new([ListItem::from(42), "hello".into(), 0.5.into(), ListItem::None])?;
/// list.set(1, "world")?;
/// list.set(3, true)?;
/// assert_eq!(list.get_as::<i64>(0)?, 42);
/// assert_eq!(list.get(1)?, ListItem::from("world"));
/// assert_eq!(list.index(0.5)?, Some(2));
/// assert!(list.set(1, "a text that is too long for its slot").unwrap_err().is_too_long());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// In the middle of [`ShareableList::set`]: the slot has the old value or the new one, and the others go
/// on. A process that is *stopped* there (SIGSTOP) keeps those out that want to set, but nobody who reads.
///
/// # Differences from Python
///
/// Several may set and get one slot at the same time: each `get` is a value that somebody has set, the
/// last of two `set`s stays. Texts and bytes keep NULs at their end, which Python drops. Integers are 64
/// bits, as there.
#[derive(Clone)]
pub struct ShareableList {
    memory: SharedMemory,
    /// Where each slot begins, and where the last one ends.
    starts: Arc<[usize]>,
}

impl ShareableList {
    /// A list of these items, for the family.
    ///
    /// # Errors
    ///
    /// [`CreateError::NoSpace`]; [`CreateError::Invalid`] if it would be larger than memory can be.
    pub fn new<T: Into<ListItem>>(
        items: impl IntoIterator<Item = T>,
    ) -> Result<ShareableList, CreateError> {
        ShareableList::builder().create(items)
    }

    /// A list of these items that other programs can open by `name`.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::create_named`].
    pub fn create_named<T: Into<ListItem>>(
        name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> Result<ShareableList, CreateError> {
        ShareableList::builder().name(name).create(items)
    }

    /// For slots with room to grow.
    pub fn builder() -> ListBuilder {
        ListBuilder::default()
    }

    /// The list that has this name. [`SharedMemory::unlink`] takes the name away.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::open`].
    pub fn open(name: &str) -> Result<ShareableList, OpenError> {
        ShareableList::in_memory(SharedMemory::open_as(name, Content::List)?)
    }

    /// Lays a list out in the memory that `create` gives for a size, and publishes that.
    pub(crate) fn make<T: Into<ListItem>>(
        items: impl IntoIterator<Item = T>,
        room: usize,
        create: impl FnOnce(usize) -> Result<SharedMemory, CreateError>,
    ) -> Result<ShareableList, CreateError> {
        let items: Vec<ListItem> = items.into_iter().map(Into::into).collect();
        let rooms: Vec<usize> = items.iter().map(|item| item.room().max(room)).collect();
        let starts = starts_of(rooms.iter().copied())
            .ok_or_else(|| CreateError::Invalid("a list of that size cannot be".into()))?;
        let memory = create(starts.last().copied().unwrap_or(TABLE))?;
        let mut table = Vec::with_capacity(TABLE + items.len() * 8);
        table.extend(MAGIC.to_le_bytes());
        table.extend((items.len() as u64).to_le_bytes());
        for (at, end) in starts.iter().zip(&starts[1..]) {
            table.extend((slot::room(end - at) as u64).to_le_bytes());
        }
        let list = ShareableList { memory, starts };
        let written = list.memory.write_at(0, &table).map_err(ListError::from);
        let filled = written.and_then(|()| {
            let mut slots = items.iter().enumerate();
            slots.try_for_each(|(index, item)| list.slot(index)?.fill(item))
        });
        filled.map_err(|error| CreateError::Limit(error.to_string()))?;
        list.memory.publish()?;
        Ok(list)
    }

    /// The list that lies in `memory`, if one does.
    fn in_memory(memory: SharedMemory) -> Result<ShareableList, OpenError> {
        let corrupt = || OpenError::Corrupt("the table of a list is damaged");
        let word = |at: usize| {
            let mut bytes = [0; 8];
            memory.read_at(at, &mut bytes).map_err(|_| corrupt())?;
            Ok::<u64, OpenError>(u64::from_le_bytes(bytes))
        };
        let magic = word(0)?;
        if magic != MAGIC {
            return Err(OpenError::Incompatible {
                ours: format!("a shareable list of layout {MAGIC:x}"),
                theirs: format!("{magic:x}"),
            });
        }
        let len = word(8)?;
        let most = (memory.len() - TABLE) / (8 + slot::SMALLEST);
        let len = usize::try_from(len).ok().filter(|&len| len <= most);
        let mut table = vec![0; len.ok_or_else(corrupt)? * 8];
        memory.read_at(TABLE, &mut table).map_err(|_| corrupt())?;
        let rooms = table.chunks_exact(8).map(|room| {
            let room = u64::from_le_bytes(room.try_into().expect("chunks of 8"));
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        let starts = starts_of(rooms).ok_or_else(corrupt)?;
        if starts.last().is_some_and(|&end| end > memory.len()) {
            return Err(corrupt());
        }
        Ok(ShareableList { memory, starts })
    }

    /// How many slots it has.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Its name, if it was made with one.
    pub fn name(&self) -> Option<&str> {
        self.memory.name()
    }

    /// How many bytes of text or bytes fit into a slot.
    ///
    /// # Errors
    ///
    /// [`ListError::OutOfRange`].
    pub fn room(&self, index: usize) -> Result<usize, ListError> {
        Ok(self.slot(index)?.room())
    }

    /// The value of a slot.
    ///
    /// # Errors
    ///
    /// [`ListError::OutOfRange`]; [`ListError::Corrupt`] if what lies there was not written by a list.
    pub fn get(&self, index: usize) -> Result<ListItem, ListError> {
        self.slot(index)?.get()
    }

    /// The value of a slot as a type of Rust: `i64`, `f64`, `bool`, `String` or `Vec<u8>`.
    ///
    /// # Errors
    ///
    /// As [`ShareableList::get`]; [`ListError::WrongType`] if the value is another.
    pub fn get_as<T: TryFrom<ListItem, Error = ListError>>(
        &self,
        index: usize,
    ) -> Result<T, ListError> {
        self.get(index)?.try_into()
    }

    /// Gives a slot another value, of any type.
    ///
    /// # Errors
    ///
    /// [`ListError::TooLong`] if it does not fit, and [`ListError::OutOfRange`]: nothing has changed.
    pub fn set(&self, index: usize, item: impl Into<ListItem>) -> Result<(), ListError> {
        let slot = self.slot(index)?;
        let item = item.into();
        let _held = self.memory.exclusive()?;
        slot.set(&item)
    }

    /// The values in order, each as it is when it is asked for.
    pub fn iter(&self) -> impl Iterator<Item = Result<ListItem, ListError>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// How many slots have this value. No value is like one of another type.
    ///
    /// # Errors
    ///
    /// As [`ShareableList::get`].
    pub fn count(&self, item: impl Into<ListItem>) -> Result<usize, ListError> {
        let item = item.into();
        self.iter()
            .try_fold(0, |count, other| Ok(count + usize::from(other? == item)))
    }

    /// The first slot that has this value.
    ///
    /// # Errors
    ///
    /// As [`ShareableList::get`].
    pub fn index(&self, item: impl Into<ListItem>) -> Result<Option<usize>, ListError> {
        let item = item.into();
        for (index, other) in self.iter().enumerate() {
            if other? == item {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn slot(&self, index: usize) -> Result<Slot<'_>, ListError> {
        match self.starts.get(index..) {
            Some(&[at, end, ..]) => Ok(Slot::new(&self.memory, at, slot::room(end - at))),
            _ => Err(ListError::OutOfRange {
                index,
                len: self.len(),
            }),
        }
    }
}

/// Where slots with so much room begin, and where the last ends; `None` if they cannot be.
fn starts_of(rooms: impl ExactSizeIterator<Item = usize>) -> Option<Arc<[usize]>> {
    let mut at = rooms.len().checked_mul(8)?.checked_add(TABLE)?;
    let mut starts = vec![at];
    for room in rooms {
        at = at.checked_add(slot::size(room)?)?;
        starts.push(at);
    }
    Some(starts.into())
}

/// Makes a [`ShareableList`] with a name or with room to grow.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder makes nothing before `create`"]
pub struct ListBuilder {
    name: Option<String>,
    room: usize,
}

impl ListBuilder {
    /// Other programs can open it by this name.
    pub fn name(mut self, name: impl Into<String>) -> ListBuilder {
        self.name = Some(name.into());
        self
    }

    /// Each slot takes at least so many bytes of text. 0, as without this: what its first value needs.
    pub fn room(mut self, bytes: usize) -> ListBuilder {
        self.room = bytes;
        self
    }

    /// Makes it of these items.
    ///
    /// # Errors
    ///
    /// As [`ShareableList::new`] and [`ShareableList::create_named`].
    pub fn create<T: Into<ListItem>>(
        self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<ShareableList, CreateError> {
        ShareableList::make(items, self.room, |size| {
            SharedMemory::prepare(self.name.as_deref(), size, Content::List)
        })
    }
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareableList ")?;
        let mut list = f.debug_list();
        for item in self.iter() {
            match item {
                Ok(item) => list.entry(&item),
                Err(error) => list.entry(&format_args!("<{error}>")),
            };
        }
        list.finish()
    }
}

impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ShareableList, D::Error> {
        let memory = SharedMemory::receive(deserializer, Content::List)?;
        ShareableList::in_memory(memory).map_err(serde::de::Error::custom)
    }
}
