//! A handle of an object in a server: what every proxy is made of, and how it travels.
//!
//! To the server the object lives in, a proxy is a link of the message. To anybody else it is where
//! the server is, the object's number, and the number of a *loan*, by which the server keeps the
//! object while nobody has received the message. The key does not stand in the message: it lies in an
//! object of the family's memory, which only members of the family can read, and which travels beside.

use std::fmt;
use std::sync::Arc;

use multiproc_pipe::Address;
use multiproc_shm::Object;
use multiproc_sys::random;
use multiproc_wire::{DecodeError, EncodeError};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::client::{Client, Trouble};
use crate::context::{self, Incoming};
use crate::error::CallError;
use crate::message::{Answer, Op, Packed, SERVER, ServerOp};

/// One handle, as the server counts them. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Held {
    client: Arc<Client>,
    object: u64,
}

impl Held {
    /// For a handle that the server has given us.
    pub(crate) fn given(client: Arc<Client>, object: u64) -> Held {
        Held { client, object }
    }

    /// Asks for a handle of an object that was on its way to us as `loan`.
    fn adopted(client: Arc<Client>, object: u64, loan: u64) -> Held {
        client.post(SERVER, Op::Server(ServerOp::Adopt { object, loan }));
        Held { client, object }
    }

    pub(crate) fn server(&self) -> u64 {
        self.client.server()
    }

    pub(crate) fn object(&self) -> u64 {
        self.object
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let object = self.object;
        let release = ServerOp::Release { object, count: 1 };
        self.client.post(SERVER, Op::Server(release));
    }
}

/// Handles of proxies in a message, to be kept until it has arrived.
pub(crate) type Outgoing = Vec<Arc<Held>>;

/// A proxy without its type.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Held>);

impl Handle {
    pub(crate) fn given(client: &Arc<Client>, object: u64) -> Handle {
        Handle(Arc::new(Held::given(Arc::clone(client), object)))
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.0.client
    }

    pub(crate) fn object(&self) -> u64 {
        self.0.object
    }

    pub(crate) fn is(&self, other: &Handle) -> bool {
        self.0.object == other.0.object && self.0.server() == other.0.server()
    }

    pub(crate) fn ask(&self, op: Op) -> Result<Answer, Trouble> {
        self.0.client.ask(self.0.object, op)
    }

    /// `value` for the object's server, and what must live until the reply.
    pub(crate) fn pack<T>(&self, value: &T) -> Result<(Packed, Vec<Arc<Held>>), EncodeError>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        context::pack(self.0.server(), value)
    }

    pub(crate) fn unpack<T: DeserializeOwned + 'static>(
        &self,
        packed: Packed,
    ) -> Result<T, DecodeError> {
        context::unpack(&self.0.client, packed)
    }

    /// The value of an answer that has one, or none.
    pub(crate) fn optional<T: DeserializeOwned + 'static>(
        &self,
        answer: Answer,
    ) -> Result<Option<T>, CallError> {
        match answer {
            Answer::Value(Some(packed)) => Ok(Some(self.unpack(packed)?)),
            Answer::Value(None) => Ok(None),
            other => Err(CallError::unexpected(&other)),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.0.client.door().address;
        write!(f, "object {} at {address}", self.0.object)
    }
}

/// How a handle is written.
#[derive(Serialize, Deserialize)]
enum Form {
    /// To its own server: the index of a link.
    Link(u32),
    /// To anybody else in the family.
    Far(Far),
}

#[derive(Serialize, Deserialize)]
struct Far {
    /// First, so that whoever may not have it does nothing else.
    key: Object,
    address: String,
    server: u64,
    object: u64,
    loan: u64,
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(index) = context::link(&self.0) {
            return Form::Link(index).serialize(serializer);
        }
        let client = &self.0.client;
        let key = client.key_object();
        let key = key.ok_or_else(|| S::Error::custom("no shared memory for the key"))?;
        let (object, loan) = (self.0.object, random::u64());
        let form = Form::Far(Far {
            key: key.clone(),
            address: client.door().address.to_string(),
            server: client.server(),
            object,
            loan,
        });
        let done = form.serialize(serializer)?;
        client.post(SERVER, Op::Server(ServerOp::Lend { object, loan }));
        Ok(done)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Handle, D::Error> {
        let held = match Form::deserialize(deserializer)? {
            Form::Link(index) => match context::linked(index) {
                Some(Incoming::Held(held)) => held,
                Some(Incoming::Here(object)) => {
                    let client = crate::serve::own_client();
                    let client = client.ok_or_else(|| D::Error::custom("no way to this server"))?;
                    Arc::new(Held::adopted(client, object, 0))
                }
                None => return Err(D::Error::custom("a proxy's object did not come along")),
            },
            Form::Far(far) => {
                let address: Address = far.address.parse().map_err(D::Error::custom)?;
                let door = Client::door_with(&far.key, address);
                let door = door.ok_or_else(|| D::Error::custom("what came is no key"))?;
                let client = Client::of(far.server, || door);
                let client = client.map_err(|error| {
                    D::Error::custom(format!("no connection to the proxy's server: {error}"))
                })?;
                Arc::new(Held::adopted(client, far.object, far.loan))
            }
        };
        Ok(Handle(held))
    }
}
