//! A map from encoded keys to encoded values, in the order of the keys' bytes. That order makes
//! paging sound: a page begins behind the last key of the one before, so a key that is there all the
//! time is met exactly once, whatever happens to the others meanwhile.

use std::collections::BTreeMap;
use std::ops::Bound;

use multiproc_wire::Bytes;

use super::Counter;
use crate::desk::Outcome;
use crate::item::{Item, Key};
use crate::message::{Answer, Failure, MapOp};

/// The most bytes of one page, unless a single entry has more.
pub(crate) const PAGE_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Map {
    pub(crate) entries: BTreeMap<Key, Item>,
}

impl Map {
    pub(super) fn handle(&mut self, op: MapOp, at: &mut Counter<'_>) -> Outcome {
        let client = at.caller.client;
        Ok(match op {
            MapOp::Get { key } => {
                let item = self.entries.get(&key[..]);
                Answer::Value(item.map(|item| at.desk.show(item, client)))
            }
            MapOp::Insert { key, value } => {
                let value = at.desk.keep(value)?;
                let old = self.entries.insert(Key::new(key), value);
                Answer::Value(old.map(|old| at.desk.show(&old, client)))
            }
            MapOp::Remove { key } => {
                let old = self.entries.remove(&key[..]);
                Answer::Value(old.map(|old| at.desk.show(&old, client)))
            }
            MapOp::Contains { key } => Answer::Bool(self.entries.contains_key(&key[..])),
            MapOp::Len => Answer::Count(self.entries.len() as u64),
            MapOp::Clear => {
                self.entries.clear();
                Answer::Unit
            }
            MapOp::Page { after, most } => self.page(after.as_deref(), most, at),
            MapOp::GetMany { keys } => self.get_many(&keys, at)?,
            MapOp::InsertMany { entries } => {
                for (key, value) in entries {
                    let value = at.desk.keep(value)?;
                    self.entries.insert(Key::new(key), value);
                }
                Answer::Unit
            }
            MapOp::GetOrInsert { key, value } => {
                let value = at.desk.keep(value)?;
                let item = self.entries.entry(Key::new(key)).or_insert(value);
                Answer::Value(Some(at.desk.show(item, client)))
            }
            MapOp::PopFirst => {
                let first = self.entries.pop_first().into_iter();
                let shown = first.map(|(key, item)| (key.to_bytes(), at.desk.show(&item, client)));
                Answer::Entries(shown.collect())
            }
        })
    }

    /// The same key may be asked for any number of times: what is too long to be sent is not made.
    fn get_many(&self, keys: &[Bytes], at: &mut Counter<'_>) -> Outcome {
        let limit = at.desk.limit;
        let mut size = 0;
        let mut values = Vec::new();
        for key in keys {
            let item = self.entries.get(&key[..]);
            size += item.map_or(0, |item| item.bytes().len() as u64);
            if size > limit {
                return Err(Failure::TooLarge { size, limit });
            }
            values.push(item.map(|item| at.desk.show(item, at.caller.client)));
        }
        Ok(Answer::Values(values))
    }

    fn page(&self, after: Option<&[u8]>, most: u32, at: &mut Counter<'_>) -> Answer {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut bytes = 0;
        let page = self
            .entries
            .range::<[u8], _>((start, Bound::Unbounded))
            .take(most.max(1) as usize)
            .take_while(|(key, item)| {
                let fits = bytes < PAGE_BYTES;
                bytes += key.to_bytes().len() + item.bytes().len();
                fits
            });
        let client = at.caller.client;
        let entries: Vec<(Bytes, _)> = page
            .map(|(key, item)| (key.to_bytes(), at.desk.show(item, client)))
            .collect();
        Answer::Entries(entries)
    }
}
