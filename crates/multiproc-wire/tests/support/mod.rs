//! A handle such as locks and queues are, for tests: it travels as an attachment.

use std::sync::Arc;

use multiproc_wire::codec;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Refers to a shared text. Equal to a handle of the same text, not of an equal one.
#[derive(Clone, Debug)]
pub(crate) struct Handle(pub(crate) Arc<String>);

impl Handle {
    pub(crate) fn new(name: &str) -> Handle {
        Handle(Arc::new(name.to_owned()))
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Handle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::attach(self.0.clone())
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Handle, D::Error> {
        let attachment = codec::attached(u32::deserialize(deserializer)?);
        let text = attachment.map_err(D::Error::custom)?.downcast();
        text.map(Handle)
            .map_err(|_| D::Error::custom("an attachment of another kind"))
    }
}
