//! A set of encoded values, in the order of their bytes: see [`map`](super::map) for why.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::map::PAGE_BYTES;
use crate::desk::Outcome;
use crate::item::Key;
use crate::message::{Algebra, Answer, Failure, SetOp};

#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) keys: BTreeSet<Key>,
}

impl Set {
    pub(super) fn handle(&mut self, op: SetOp) -> Outcome {
        Ok(match op {
            SetOp::Insert { values } => {
                let new = values.into_iter().map(Key::new);
                Answer::Count(new.filter(|key| self.keys.insert(key.clone())).count() as u64)
            }
            SetOp::Remove { values } => {
                let gone = values.iter().filter(|value| self.keys.remove(&value[..]));
                Answer::Count(gone.count() as u64)
            }
            SetOp::Contains { value } => Answer::Bool(self.keys.contains(&value[..])),
            SetOp::Len => Answer::Count(self.keys.len() as u64),
            SetOp::Clear => {
                self.keys.clear();
                Answer::Unit
            }
            SetOp::Page { after, most } => {
                let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut bytes = 0;
                let page = self
                    .keys
                    .range::<[u8], _>((start, Bound::Unbounded))
                    .take(most.max(1) as usize)
                    .map(Key::to_bytes)
                    .take_while(|key| {
                        let fits = bytes < PAGE_BYTES;
                        bytes += key.len();
                        fits
                    });
                Answer::Keys(page.collect())
            }
            SetOp::PopFirst => Answer::Keys(
                self.keys
                    .pop_first()
                    .map(|key| key.to_bytes())
                    .into_iter()
                    .collect(),
            ),
            // The core asks for it with the other set at hand.
            SetOp::Combine { .. } => return Err(Failure::WrongKind),
        })
    }

    pub(crate) fn combine(&self, other: &BTreeSet<Key>, how: Algebra) -> Answer {
        let mine = &self.keys;
        let keys = match how {
            Algebra::Union => mine.union(other).map(Key::to_bytes).collect(),
            Algebra::Intersection => mine.intersection(other).map(Key::to_bytes).collect(),
            Algebra::Difference => mine.difference(other).map(Key::to_bytes).collect(),
            Algebra::SymmetricDifference => mine
                .symmetric_difference(other)
                .map(Key::to_bytes)
                .collect(),
        };
        Answer::Keys(keys)
    }
}
