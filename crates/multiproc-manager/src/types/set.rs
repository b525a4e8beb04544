//! A set in the server.

use std::borrow::Borrow;
use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use multiproc_wire::{Bytes, codec};
use serde::Serialize;

use super::{Data, PAGE, count, flag, key_bytes, proxy, unit};
use crate::error::CallError;
use crate::manager::Manager;
use crate::message::{Algebra, Answer, Make, Op, SetOp};

proxy! {
    /// A set that lives in a manager's server. Items are the same if their encodings are, as the
    /// keys of a [`DictProxy`](crate::DictProxy) are.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let (one, two) = (manager.set::<u32>()?, manager.set::<u32>()?);
    /// one.extend([1, 2, 3])?;
    /// two.extend([2, 3, 4])?;
    /// assert_eq!(one.intersection(&two)?, [2, 3].into());
    /// assert!(!one.insert(2)?);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    SetProxy<T>
}

impl Manager {
    /// A new, empty set.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn set<T: Data>(&self) -> Result<SetProxy<T>, CallError> {
        self.make(Make::Set).map(SetProxy::of)
    }
}

impl<T: Data> SetProxy<T> {
    fn ask(&self, op: SetOp) -> Result<Answer, CallError> {
        Ok(self.handle.ask(Op::Set(op))?)
    }

    fn items(&self, op: SetOp) -> Result<Vec<Bytes>, CallError> {
        match self.ask(op)? {
            Answer::Keys(items) => Ok(items),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Adds an item; whether it was not there before.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn insert(&self, item: T) -> Result<bool, CallError> {
        Ok(self.extend([item])? == 1)
    }

    /// Adds items in one step; how many were not there before.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<usize, CallError> {
        let values = items.into_iter().map(|item| key_bytes(&item));
        let values = values.collect::<Result<_, _>>()?;
        count(self.ask(SetOp::Insert { values })?)
    }

    /// Removes an item; whether it was there.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn remove<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<bool, CallError>
    where
        T: Borrow<Q>,
    {
        let values = vec![key_bytes(item)?];
        Ok(count(self.ask(SetOp::Remove { values })?)? == 1)
    }

    /// Whether an item is there.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn contains<Q: Serialize + ?Sized>(&self, item: &Q) -> Result<bool, CallError>
    where
        T: Borrow<Q>,
    {
        let value = key_bytes(item)?;
        flag(self.ask(SetOp::Contains { value })?)
    }

    /// How many items there are.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn len(&self) -> Result<usize, CallError> {
        count(self.ask(SetOp::Len)?)
    }

    /// Whether there are none.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_empty(&self) -> Result<bool, CallError> {
        Ok(self.len()? == 0)
    }

    /// Removes all items.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn clear(&self) -> Result<(), CallError> {
        unit(self.ask(SetOp::Clear)?)
    }

    /// Takes an item out.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn pop(&self) -> Result<Option<T>, CallError> {
        let first = self.items(SetOp::PopFirst)?;
        Ok(first
            .first()
            .map(|item| codec::decode_key(item))
            .transpose()?)
    }

    /// All items, fetched a page at a time. What changes meanwhile: an item that is there all the
    /// time is met once, another at most once.
    pub fn iter(&self) -> SetIter<'_, T> {
        SetIter {
            set: self,
            page: VecDeque::new(),
            after: None,
            done: false,
        }
    }

    fn combine(&self, other: &SetProxy<T>, how: Algebra) -> Result<HashSet<T>, CallError>
    where
        T: Eq + Hash,
    {
        let with = other.handle.object();
        if self.handle.client().server() != other.handle.client().server() {
            return Err(CallError::Refused(
                "the other set is in another server".into(),
            ));
        }
        let items = self.items(SetOp::Combine { with, how })?;
        let items = items.iter().map(|item| codec::decode_key(item));
        Ok(items.collect::<Result<_, _>>()?)
    }

    /// The items of either set, as of one moment.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn union(&self, other: &SetProxy<T>) -> Result<HashSet<T>, CallError>
    where
        T: Eq + Hash,
    {
        self.combine(other, Algebra::Union)
    }

    /// The items of both sets, as of one moment.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn intersection(&self, other: &SetProxy<T>) -> Result<HashSet<T>, CallError>
    where
        T: Eq + Hash,
    {
        self.combine(other, Algebra::Intersection)
    }

    /// The items of this set that the other does not have, as of one moment.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn difference(&self, other: &SetProxy<T>) -> Result<HashSet<T>, CallError>
    where
        T: Eq + Hash,
    {
        self.combine(other, Algebra::Difference)
    }

    /// The items that only one of the two sets has, as of one moment.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn symmetric_difference(&self, other: &SetProxy<T>) -> Result<HashSet<T>, CallError>
    where
        T: Eq + Hash,
    {
        self.combine(other, Algebra::SymmetricDifference)
    }
}

/// Iterator over a [`SetProxy`].
#[derive(Debug)]
pub struct SetIter<'a, T> {
    set: &'a SetProxy<T>,
    page: VecDeque<Bytes>,
    after: Option<Bytes>,
    done: bool,
}

impl<T: Data> Iterator for SetIter<'_, T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.done {
            let after = self.after.take();
            match self.set.items(SetOp::Page { after, most: PAGE }) {
                Ok(items) => {
                    self.after = items.last().cloned();
                    self.done = items.is_empty();
                    self.page = items.into();
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        let item = self.page.pop_front()?;
        Some(codec::decode_key(&item).map_err(CallError::from))
    }
}
