//! A sequence of a fixed length in the server.

use std::ops::RangeBounds;

use super::list::{fetch, update_at};
use super::{Data, count, proxy};
use crate::context;
use crate::error::CallError;
use crate::handle::Outgoing;
use crate::manager::Manager;
use crate::message::{ListOp, Make, Op};

proxy! {
    /// An array that lives in a manager's server: a list whose length does not change.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let array = manager.array(vec![1.5, 2.5])?;
    /// array.update(1, |x, by| *x *= by, 2.0)?;
    /// assert_eq!(array.to_vec()?, [1.5, 5.0]);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ArrayProxy<T>
}

impl Manager {
    /// A new array of these values.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn array<T: Data>(&self, values: impl Into<Vec<T>>) -> Result<ArrayProxy<T>, CallError> {
        let values = values.into();
        let mut kept = Outgoing::new();
        let items = values.iter().map(|value| {
            let (packed, outgoing) = context::pack(self.client().server(), value)?;
            kept.extend(outgoing);
            Ok(packed)
        });
        let items = items.collect::<Result<Vec<_>, CallError>>()?;
        let fixed = true;
        self.make(Make::List { items, fixed }).map(ArrayProxy::of)
    }
}

impl<T: Data> ArrayProxy<T> {
    /// The value at `index`, or `None` behind the end.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn get(&self, index: usize) -> Result<Option<T>, CallError> {
        let index = index as u64;
        let answer = self.handle.ask(Op::List(ListOp::Get { index }))?;
        self.handle.optional(answer)
    }

    /// Replaces the value at `index`; what was there before.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] behind the end; [`CallError`].
    pub fn set(&self, index: usize, value: T) -> Result<T, CallError> {
        let (value, _kept) = self.handle.pack(&value)?;
        let index = index as u64;
        let answer = self.handle.ask(Op::List(ListOp::Set { index, value }))?;
        let old = self.handle.optional(answer)?;
        old.ok_or_else(|| CallError::Protocol("no value came".into()))
    }

    /// How many values there are.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn len(&self) -> Result<usize, CallError> {
        count(self.handle.ask(Op::List(ListOp::Len))?)
    }

    /// Whether there are none.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_empty(&self) -> Result<bool, CallError> {
        Ok(self.len()? == 0)
    }

    /// The values of a range that are there.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, CallError> {
        fetch(&self.handle, range)
    }

    /// All values.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn to_vec(&self) -> Result<Vec<T>, CallError> {
        self.slice(..)
    }

    /// Changes the value at `index` where it is, by a function: what it returns, or `None` behind
    /// the end. If it panics, the value stays as it was.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::Panicked`] if the function does.
    pub fn update<A: Data, R: Data>(
        &self,
        index: usize,
        f: fn(&mut T, A) -> R,
        a: A,
    ) -> Result<Option<R>, CallError> {
        update_at(&self.handle, index, f, a)
    }
}
