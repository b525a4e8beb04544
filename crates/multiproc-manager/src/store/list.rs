//! A sequence of encoded values; an array is one whose length never changes.

use super::Counter;
use super::map::PAGE_BYTES;
use crate::desk::{Desk, Outcome};
use crate::item::Item;
use crate::message::{Answer, Failure, ListOp, Packed};

#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Vec<Item>,
    fixed: bool,
}

impl List {
    pub(super) fn new(items: Vec<Packed>, fixed: bool, desk: &Desk) -> Result<List, Failure> {
        let items = items.into_iter().map(|item| desk.keep(item));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        Ok(List { items, fixed })
    }

    pub(super) fn handle(&mut self, op: ListOp, at: &mut Counter<'_>) -> Outcome {
        let resizes = matches!(
            op,
            ListOp::Insert { .. }
                | ListOp::Remove { .. }
                | ListOp::Extend { .. }
                | ListOp::Pop
                | ListOp::Truncate { .. }
        );
        if self.fixed && resizes {
            return Err(Failure::Refused("an array keeps its length".into()));
        }
        let len = self.items.len() as u64;
        let client = at.caller.client;
        Ok(match op {
            ListOp::Len => Answer::Count(len),
            ListOp::Get { index } => {
                let item = usize::try_from(index)
                    .ok()
                    .and_then(|index| self.items.get(index));
                Answer::Value(item.map(|item| at.desk.show(item, client)))
            }
            ListOp::Set { index, value } => {
                let value = at.desk.keep(value)?;
                let place = self.items.get_mut(within(index, len)?);
                let old = place.map(|place| std::mem::replace(place, value));
                Answer::Value(old.map(|old| at.desk.show(&old, client)))
            }
            ListOp::Insert { index, value } => {
                let value = at.desk.keep(value)?;
                self.items.insert(within(index, len + 1)?, value);
                Answer::Unit
            }
            ListOp::Remove { index } => {
                let old = self.items.remove(within(index, len)?);
                Answer::Value(Some(at.desk.show(&old, client)))
            }
            ListOp::Extend { values } => {
                let values = values.into_iter().map(|value| at.desk.keep(value));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                self.items.extend(values);
                Answer::Count(self.items.len() as u64)
            }
            ListOp::Pop => {
                let old = self.items.pop();
                Answer::Value(old.map(|old| at.desk.show(&old, client)))
            }
            ListOp::Page { from, most } => self.page(from.min(len) as usize, most, at),
            ListOp::Truncate { len: left } => {
                self.items.truncate(left.min(len) as usize);
                Answer::Unit
            }
            ListOp::Reverse => {
                self.items.reverse();
                Answer::Unit
            }
            ListOp::Find { value } => {
                let value = at.desk.keep(value)?;
                let index = self.items.iter().position(|item| *item == value);
                Answer::Counts(index.map(|index| index as u64).into_iter().collect())
            }
        })
    }

    fn page(&self, from: usize, most: u32, at: &mut Counter<'_>) -> Answer {
        let mut bytes = 0;
        let page = self.items[from..]
            .iter()
            .take(most.max(1) as usize)
            .take_while(|item| {
                let fits = bytes < PAGE_BYTES;
                bytes += item.bytes().len();
                fits
            });
        let client = at.caller.client;
        Answer::Values(page.map(|item| Some(at.desk.show(item, client))).collect())
    }
}

/// `index`, if it is below `end`.
fn within(index: u64, end: u64) -> Result<usize, Failure> {
    match usize::try_from(index) {
        Ok(small) if index < end => Ok(small),
        _ => Err(Failure::OutOfRange { len: end }),
    }
}
