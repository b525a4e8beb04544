//! The proxies, one file per type. They hold no state: what they say is in the server.

mod array;
mod barrier;
mod condition;
mod dict;
mod event;
mod list;
mod lock;
mod namespace;
mod pending;
mod pool;
mod queue;
mod remote;
mod semaphore;
mod set;
mod value;

pub use array::ArrayProxy;
pub use barrier::BarrierProxy;
pub use condition::ConditionProxy;
pub use dict::{DictIter, DictProxy, KeyOf};
pub use event::EventProxy;
pub use list::{ListIter, ListProxy};
pub use lock::{LockProxy, LockProxyGuard, RLockProxy};
pub use namespace::NamespaceProxy;
pub use pending::Pending;
pub use pool::{PoolProxy, RemoteImap};
pub use queue::{JoinableQueueProxy, QueueIter, QueueProxy};
pub use remote::Remote;
pub use semaphore::{BoundedSemaphoreProxy, PermitProxy, SemaphoreProxy};
pub use set::{SetIter, SetProxy};
pub use value::ValueProxy;

#[cfg(feature = "tls")]
pub use crate::tls::{Tls, TlsError};

use multiproc_sys::clock::Deadline;
use multiproc_wire::task::TaskRef;
use multiproc_wire::{Bytes, Function, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CallError;
use crate::handle::Handle;
use crate::host::Fault;
use crate::message::{Answer, Op, Run, Wait};

/// A function that makes something.
type Produce<A, T> = Function<fn(A) -> T>;
/// A function that reads an object.
type Read<T, A, R> = Function<fn(&T, A) -> R>;
/// A function that changes an object.
type Write<T, A, R> = Function<fn(&mut T, A) -> R>;

/// How many entries a page has at most.
const PAGE: u32 = 1024;

/// What all proxies have in common: they are handles with a type, and travel as such.
macro_rules! proxy {
    ($(#[$meta:meta])* $name:ident $(<$($param:ident),+>)?) => {
        $(#[$meta])*
        pub struct $name$(<$($param),+>)? {
            handle: $crate::handle::Handle,
            $(types: std::marker::PhantomData<fn() -> ($($param,)+)>,)?
        }

        impl$(<$($param),+>)? $name$(<$($param),+>)? {
            pub(crate) fn of(handle: $crate::handle::Handle) -> Self {
                Self {
                    handle,
                    $(types: std::marker::PhantomData::<fn() -> ($($param,)+)>,)?
                }
            }

            /// Whether both stand for the same object.
            pub fn is(&self, other: &Self) -> bool {
                self.handle.is(&other.handle)
            }
        }

        impl$(<$($param),+>)? Clone for $name$(<$($param),+>)? {
            fn clone(&self) -> Self {
                Self::of(self.handle.clone())
            }
        }

        impl$(<$($param),+>)? std::fmt::Debug for $name$(<$($param),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.handle).finish()
            }
        }

        impl$(<$($param),+>)? serde::Serialize for $name$(<$($param),+>)? {
            fn serialize<Out: serde::Serializer>(&self, out: Out) -> Result<Out::Ok, Out::Error> {
                self.handle.serialize(out)
            }
        }

        impl<'de $($(, $param)+)?> serde::Deserialize<'de> for $name$(<$($param),+>)? {
            fn deserialize<In: serde::Deserializer<'de>>(from: In) -> Result<Self, In::Error> {
                $crate::handle::Handle::deserialize(from).map(Self::of)
            }
        }
    };
}

pub(crate) use proxy;

/// What can be kept in a manager: every type that serde can write and read.
pub trait Data: Serialize + DeserializeOwned + 'static {}

impl<T: Serialize + DeserializeOwned + 'static> Data for T {}

/// The bytes of a key. A key must be all in its bytes, since it is compared by them.
fn key_bytes<K: Serialize + ?Sized>(key: &K) -> Result<Bytes, CallError> {
    let bytes = codec::encode_key(key).map_err(CallError::from)?;
    Ok(bytes.into())
}

fn wait_until(deadline: Deadline) -> Wait {
    let micros = deadline
        .remaining()
        .map(|left| left.as_nanos().div_ceil(1000));
    Wait(micros.map(|micros| u64::try_from(micros).unwrap_or(u64::MAX)))
}

/// Has `driver` run beside the object, with `argument`.
fn run<A, R>(
    handle: &Handle,
    driver: fn(A) -> Result<R, Fault>,
    argument: &A,
    exclusive: bool,
) -> Result<R, CallError>
where
    A: Data,
    R: Data,
{
    let (argument, _kept) = handle.pack(argument)?;
    let op = Op::Run(Run {
        task: TaskRef::of(driver)?.to_words(),
        exclusive,
        argument,
    });
    outcome(handle, handle.ask(op)?)
}

/// What a driver has returned.
fn outcome<R: Data>(handle: &Handle, answer: Answer) -> Result<R, CallError> {
    match answer {
        Answer::Value(Some(packed)) => {
            let result: Result<R, Fault> = handle.unpack(packed)?;
            result.map_err(CallError::from)
        }
        other => Err(CallError::unexpected(&other)),
    }
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> CallError {
        match fault {
            Fault::Kind => CallError::Refused("the object is of another type".into()),
            Fault::Decode(text) => CallError::Decode(text),
            Fault::Encode(text) => CallError::Encode(text),
            Fault::Refused(why) => CallError::Refused(why),
        }
    }
}

fn unit(answer: Answer) -> Result<(), CallError> {
    match answer {
        Answer::Unit => Ok(()),
        other => Err(CallError::unexpected(&other)),
    }
}

fn count(answer: Answer) -> Result<usize, CallError> {
    match answer {
        Answer::Count(count) => Ok(count as usize),
        other => Err(CallError::unexpected(&other)),
    }
}

fn flag(answer: Answer) -> Result<bool, CallError> {
    match answer {
        Answer::Bool(flag) => Ok(flag),
        other => Err(CallError::unexpected(&other)),
    }
}
