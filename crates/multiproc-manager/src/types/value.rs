//! One value in the server. There it is a list of one.

use super::list::update_at;
use super::{Data, proxy};
use crate::context;
use crate::error::CallError;
use crate::manager::Manager;
use crate::message::{ListOp, Make, Op};

proxy! {
    /// One value that lives in a manager's server.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let total = manager.value(0)?;
    /// assert_eq!(total.update(|n, by| { *n += by; *n }, 5)?, 5);
    /// total.set(7)?;
    /// assert_eq!(total.replace(8)?, 7);
    /// assert_eq!(total.get()?, 8);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Differences from Python
    ///
    /// `update` changes it where it is; there is no `get_lock` to forget.
    ValueProxy<T>
}

impl Manager {
    /// A new value.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn value<T: Data>(&self, value: T) -> Result<ValueProxy<T>, CallError> {
        let (packed, _kept) = context::pack(self.client().server(), &value)?;
        let (items, fixed) = (vec![packed], true);
        self.make(Make::List { items, fixed }).map(ValueProxy::of)
    }
}

impl<T: Data> ValueProxy<T> {
    /// The value.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn get(&self) -> Result<T, CallError> {
        self.one(ListOp::Get { index: 0 })
    }

    /// Gives it another value.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn set(&self, value: T) -> Result<(), CallError> {
        self.replace(value).map(drop)
    }

    /// As [`ValueProxy::set`]; what it was before.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn replace(&self, value: T) -> Result<T, CallError> {
        let (value, _kept) = self.handle.pack(&value)?;
        self.one(ListOp::Set { index: 0, value })
    }

    fn one(&self, op: ListOp) -> Result<T, CallError> {
        let found = self.handle.optional(self.handle.ask(Op::List(op))?)?;
        found.ok_or_else(missing)
    }

    /// Changes it where it is, by a function, and returns what that returns. If it panics, the value
    /// stays as it was.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::Panicked`] if the function does.
    pub fn update<A: Data, R: Data>(&self, f: fn(&mut T, A) -> R, a: A) -> Result<R, CallError> {
        update_at(&self.handle, 0, f, a)?.ok_or_else(missing)
    }
}

fn missing() -> CallError {
    CallError::Protocol("no value came".into())
}
