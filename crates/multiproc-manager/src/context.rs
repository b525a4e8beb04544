//! Proxies inside values: how they find the server their value goes to or comes from.
//!
//! serde gives a proxy no way to reach the message it is written into, so the thread's open messages
//! wait here. The invariant is that of `wire`'s scopes: **whoever opens one closes it**, on return, on
//! error and on unwinding.

use std::cell::RefCell;
use std::sync::Arc;

use multiproc_wire::{DecodeError, EncodeError, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::handle::Held;
use crate::message::Packed;

/// One message being written or read on this thread.
struct Open {
    /// The server at the other end, or this one. `None`: no message, but code of the user's.
    server: Option<u64>,
    incoming: Vec<Incoming>,
    /// What the proxies written so far stand for. Kept, so that none goes before the message has
    /// arrived.
    outgoing: Vec<Arc<Held>>,
}

/// A link of a message being read.
#[derive(Clone)]
pub(crate) enum Incoming {
    /// The server has given us a handle with the message.
    Held(Arc<Held>),
    /// We are in the server itself; a handle must be asked for.
    Here(u64),
}

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

struct Scope;

impl Scope {
    fn open(server: Option<u64>, incoming: Vec<Incoming>) -> Scope {
        OPEN.with_borrow_mut(|open| {
            open.push(Open {
                server,
                incoming,
                outgoing: Vec::new(),
            });
        });
        Scope
    }

    /// What was written meanwhile.
    fn outgoing(&self) -> Vec<Arc<Held>> {
        OPEN.with_borrow_mut(|open| {
            let last = open.last_mut().expect("this scope is open");
            std::mem::take(&mut last.outgoing)
        })
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // Its handles are dropped outside the borrow: that sends messages.
        let closed = OPEN.with_borrow_mut(Vec::pop);
        drop(closed);
    }
}

/// Runs `act` with a message from and to `server` open; what it wrote comes with its answer.
pub(crate) fn within<R>(
    server: u64,
    incoming: Vec<Incoming>,
    act: impl FnOnce() -> R,
) -> (R, Vec<Arc<Held>>) {
    let scope = Scope::open(Some(server), incoming);
    let answer = act();
    let outgoing = scope.outgoing();
    (answer, outgoing)
}

/// Runs `act`, which is code of the user's: what it writes goes elsewhere than the message that is open
/// here.
pub(crate) fn outside<R>(act: impl FnOnce() -> R) -> R {
    let _scope = Scope::open(None, Vec::new());
    act()
}

/// A proxy of an object of `server` is being written: its index, if that is where the message goes.
pub(crate) fn link(held: &Arc<Held>) -> Option<u32> {
    OPEN.with_borrow_mut(|open| {
        let open = open
            .last_mut()
            .filter(|open| open.server == Some(held.server()))?;
        open.outgoing.push(Arc::clone(held));
        Some(open.outgoing.len() as u32 - 1)
    })
}

/// The link at `index` of the message being read.
pub(crate) fn linked(index: u32) -> Option<Incoming> {
    OPEN.with_borrow(|open| open.last()?.incoming.get(index as usize).cloned())
}

/// `value` as a message to `server`, and what must be kept until the message has arrived.
pub(crate) fn pack<T>(server: u64, value: &T) -> Result<(Packed, Vec<Arc<Held>>), EncodeError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let (parcel, outgoing) = within(server, Vec::new(), || codec::encode_checked(value));
    let parcel = parcel?;
    if !parcel.attachments.is_empty() {
        return Err(EncodeError::new(
            std::any::type_name::<T>(),
            "objects in shared memory do not travel to a manager's server; \
             use the manager's own",
        ));
    }
    let links = outgoing.iter().map(|held| held.object()).collect();
    let bytes = parcel.bytes.into();
    Ok((Packed { bytes, links }, outgoing))
}

/// The value in a message from the server of `client`, which has given us a handle for each link.
pub(crate) fn unpack<T>(client: &Arc<Client>, packed: Packed) -> Result<T, DecodeError>
where
    T: DeserializeOwned + 'static,
{
    if packed.links.is_empty() {
        return match codec::from_raw_bytes(packed.bytes.into_vec()) {
            Ok(value) => Ok(value),
            Err(bytes) => codec::decode(&bytes, &[]),
        };
    }
    let held = packed.links.iter().map(|&object| {
        let held = Held::given(Arc::clone(client), object);
        Incoming::Held(Arc::new(held))
    });
    let server = client.server();
    within(server, held.collect(), || codec::decode(&packed.bytes, &[])).0
}
