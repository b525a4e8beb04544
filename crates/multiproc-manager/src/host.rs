//! Functions that run in the server: what they run beside, and how.
//!
//! A function that travels is always one of this crate's *drivers*, generic over the user's types,
//! with the user's function as an argument. A driver reaches its object here, in a thread-local, and
//! never sees another one.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;

use multiproc_process::guard;
use multiproc_wire::task::Task;
use multiproc_wire::{DecodeError, EncodeError, Parcel, RunError, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::{self, Incoming};
use crate::desk::Caller;
use crate::handle::Held;
use crate::item::{Anchors, Item};
use crate::later::{Backlog, Promise};
use crate::message::{Failure, Packed};
use crate::store::{Store, User};

/// What a function runs beside.
#[derive(Debug)]
pub(crate) enum Subject {
    /// An object made of values, taken out of the server meanwhile.
    Whole(Store),
    /// An object of the user's.
    User(Arc<User>),
    /// Nothing yet: the function makes it.
    Nothing,
    /// It has stayed in the server: the function left a [`Promise`] and was done.
    Stayed,
}

/// A function to be run, outside the server's lock.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) object: u64,
    pub(crate) caller: Caller,
    pub(crate) exclusive: bool,
    pub(crate) subject: Subject,
    pub(crate) task: Task,
    pub(crate) argument: Packed,
    pub(crate) server: u64,
    pub(crate) anchors: Arc<Anchors>,
    pub(crate) backlog: Arc<Backlog>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) object: u64,
    pub(crate) caller: Caller,
    pub(crate) exclusive: bool,
    pub(crate) subject: Subject,
    pub(crate) result: Result<Packed, Failure>,
    /// Handles of proxies in the result, kept until the server has seen it.
    pub(crate) kept: Vec<Arc<Held>>,
}

/// What the function running on this thread may reach.
struct Host {
    subject: Subject,
    server: u64,
    anchors: Arc<Anchors>,
    /// The answer, to be promised.
    promise: Option<Promise>,
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

impl Job {
    /// Runs it. A panic is an outcome like others. Nothing comes of it yet if the function has
    /// promised its answer.
    pub(crate) fn run(self) -> Option<Finished> {
        let promise = Promise::new(self.object, self.caller, self.server, self.backlog);
        let former = HOST.replace(Some(Host {
            subject: self.subject,
            server: self.server,
            anchors: self.anchors,
            promise: Some(promise),
        }));
        let links = self.argument.links.iter();
        let incoming = links.map(|&object| Incoming::Here(object)).collect();
        let mut reply = Parcel::default();
        let (outcome, kept) = context::within(self.server, incoming, || {
            let run = || self.task.run(&self.argument.bytes, &[], &mut reply);
            guard::catch(std::panic::AssertUnwindSafe(run))
        });
        let mut host = HOST.replace(former).expect("it was put there above");
        // Taken by the function, the promise speaks for it, even if it was broken at once.
        host.promise.take()?.withdraw();
        let panicked = outcome.is_err();
        if panicked
            && self.exclusive
            && let Subject::User(user) = &host.subject
        {
            user.poison();
        }
        let result = match outcome {
            Err(report) => Err(Failure::Panicked(report)),
            Ok(Err(RunError::Decode(error))) => Err(Failure::Decode(error.to_string())),
            Ok(Err(error)) => Err(Failure::Encode(source_text(&error))),
            Ok(Ok(())) if !reply.attachments.is_empty() => Err(Failure::Encode(
                "objects in shared memory do not travel from a manager's server".into(),
            )),
            Ok(Ok(())) => Ok(Packed {
                bytes: reply.bytes.into(),
                links: kept.iter().map(|held| held.object()).collect(),
            }),
        };
        Some(Finished {
            object: self.object,
            caller: self.caller,
            exclusive: self.exclusive,
            subject: host.subject,
            result,
            kept,
        })
    }
}

/// Has the function that runs on this thread answer later. The object stays in the server, and others
/// that only read it go on.
pub(crate) fn promise() -> Result<Promise, Fault> {
    HOST.with_borrow_mut(|host| host.as_mut()?.promise.take())
        .ok_or(Fault::Kind)
}

fn source_text(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// Why a driver did not come to its end: as [`Failure`], in a form that is part of its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The object is of another kind or type.
    Kind,
    Decode(String),
    Encode(String),
    /// The object cannot be made, for the reason in the text.
    Refused(String),
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Fault {
        Fault::Decode(error.to_string())
    }
}

impl From<EncodeError> for Fault {
    fn from(error: EncodeError) -> Fault {
        Fault::Encode(error.to_string())
    }
}

/// Gives a driver its object. The object is out of reach meanwhile, so a driver that is inside
/// another's user code finds nothing.
pub(crate) fn with_subject<R>(
    act: impl FnOnce(&mut Subject, &Workshop) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let mut host = HOST.take().ok_or(Fault::Kind)?;
    let workshop = Workshop {
        server: host.server,
        anchors: Arc::clone(&host.anchors),
    };
    // Put back on unwinding, too: the server wants its object again.
    struct Back<'a>(&'a mut Option<Host>);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            HOST.set(self.0.take());
        }
    }
    let mut slot = Some(Host {
        subject: std::mem::replace(&mut host.subject, Subject::Nothing),
        ..host
    });
    let back = Back(&mut slot);
    let subject = &mut back.0.as_mut().expect("put there above").subject;
    context::outside(|| act(subject, &workshop))
}

/// The first function of an object of the user's puts it in place.
pub(crate) fn place(value: Box<dyn Any + Send + Sync>) -> Result<(), Fault> {
    with_subject(|subject, _| {
        *subject = Subject::User(Arc::new(User::new(value)));
        Ok(())
    })
}

/// Opens and closes the values in an object.
#[derive(Debug)]
pub(crate) struct Workshop {
    server: u64,
    anchors: Arc<Anchors>,
}

impl Workshop {
    pub(crate) fn open<T: DeserializeOwned + 'static>(&self, item: &Item) -> Result<T, Fault> {
        if item.links().is_empty() {
            return Ok(codec::decode(item.bytes(), &[])?);
        }
        let links = item.links().iter();
        let incoming = links
            .map(|anchor| Incoming::Here(anchor.object()))
            .collect();
        let (value, _) =
            context::within(self.server, incoming, || codec::decode(item.bytes(), &[]));
        Ok(value?)
    }

    pub(crate) fn close<T>(&self, value: &T) -> Result<Item, Fault>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let (packed, _kept) = context::pack(self.server, value)?;
        let links = packed.links.iter().map(|&object| self.anchors.get(object));
        let links = links.collect::<Option<Vec<_>>>();
        let links = links.ok_or_else(|| Fault::Encode("a proxy's object is gone".into()))?;
        Ok(Item::linked(packed.bytes, links))
    }
}
