//! Calls that are under way.

use std::fmt;
use std::marker::PhantomData;

use crate::error::CallError;
use crate::handle::{Handle, Outgoing};
use crate::message::{Answer, Op};

/// A call whose answer has not been fetched yet: many may be under way at once, which costs one trip
/// to the server instead of many.
///
/// The request is sent with others: at the latest when an answer is waited for, or another call of
/// this process goes to the same server. Calls are carried out in the order in which they were made,
/// except those that wait. A `Pending` that is dropped still has its call carried out.
#[must_use = "the answer, or the error, is seen by `wait` only"]
pub struct Pending<R> {
    handle: Handle,
    seq: Result<u64, CallError>,
    read: fn(&Handle, Answer) -> Result<R, CallError>,
    result: PhantomData<fn() -> R>,
    /// Proxies in the arguments.
    _kept: Outgoing,
}

impl<R> Pending<R> {
    pub(super) fn new(
        handle: &Handle,
        op: Result<(Op, Outgoing), CallError>,
        read: fn(&Handle, Answer) -> Result<R, CallError>,
    ) -> Pending<R> {
        let (seq, kept) = match op {
            Ok((op, kept)) => {
                let sent = handle.client().send(handle.object(), op);
                (sent.map_err(CallError::from), kept)
            }
            Err(error) => (Err(error), Outgoing::new()),
        };
        Pending {
            handle: handle.clone(),
            seq,
            read,
            result: PhantomData,
            _kept: kept,
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait(mut self) -> Result<R, CallError> {
        let seq = std::mem::replace(&mut self.seq, Err(CallError::NotFound))?;
        let answer = self.handle.client().wait(seq)?;
        (self.read)(&self.handle, answer)
    }
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        if let Ok(seq) = self.seq {
            self.handle.client().flush();
            self.handle.client().forget(seq);
        }
    }
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.handle).finish()
    }
}
