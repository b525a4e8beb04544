//! Answers that come later: a function hands its work to somebody, a pool's workers, say, leaves, and
//! occupies no thread of the server.
//!
//! The invariant this file owns: **every [`Promise`] becomes exactly one answer**: what it was kept
//! with, or, if it was dropped, a failure that says so.

use std::fmt;
use std::sync::Arc;

use multiproc_sys::poll::Bell;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context;
use crate::desk::Caller;
use crate::host::{Fault, Finished, Subject};
use crate::message::{Failure, Packed};

/// Promises that were kept, for whoever leads to answer.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    finished: Mutex<Vec<Finished>>,
    /// Rung for each.
    bell: Option<Arc<Bell>>,
}

impl Backlog {
    pub(crate) fn new(bell: Arc<Bell>) -> Backlog {
        Backlog {
            finished: Mutex::default(),
            bell: Some(bell),
        }
    }

    fn add(&self, finished: Finished) {
        self.finished.lock().push(finished);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    pub(crate) fn take(&self) -> Vec<Finished> {
        std::mem::take(&mut *self.finished.lock())
    }
}

/// The answer to a request, owed by whoever has this.
///
/// It does not keep the object: if nobody else does, the object goes, and what worked for it ends.
pub(crate) struct Promise {
    object: u64,
    caller: Caller,
    server: u64,
    /// Gone once there is an answer.
    backlog: Option<Arc<Backlog>>,
}

impl Promise {
    pub(crate) fn new(object: u64, caller: Caller, server: u64, backlog: Arc<Backlog>) -> Promise {
        Promise {
            object,
            caller,
            server,
            backlog: Some(backlog),
        }
    }

    /// Answers with `value`, as a driver that returns it.
    pub(crate) fn keep<R>(mut self, value: R)
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        let packed = context::pack(self.server, &Ok::<R, Fault>(value));
        let (result, kept) = match packed {
            Ok((packed, kept)) => (Ok(packed), kept),
            Err(error) => (Err(Failure::Encode(error.to_string())), Vec::new()),
        };
        self.answer(result, kept);
    }

    fn answer(&mut self, result: Result<Packed, Failure>, kept: crate::handle::Outgoing) {
        if let Some(backlog) = self.backlog.take() {
            backlog.add(Finished {
                object: self.object,
                caller: self.caller,
                exclusive: false,
                subject: Subject::Stayed,
                result,
                kept,
            });
        }
    }

    /// The answer is given in another way.
    pub(crate) fn withdraw(mut self) {
        self.backlog = None;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let why = "the work was given up by the server without an answer";
        self.answer(Err(Failure::Refused(why.into())), Vec::new());
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Promise").field(&self.caller).finish()
    }
}
