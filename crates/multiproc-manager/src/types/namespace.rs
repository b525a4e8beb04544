//! Values of any types by name, in the server. There it is a map of `String` to (type name, bytes).

use std::any::type_name;

use multiproc_wire::DecodeError;

use super::{Data, flag, key_bytes, proxy};
use crate::error::CallError;
use crate::handle::Handle;
use crate::manager::Manager;
use crate::message::{Answer, Make, MapOp, NAMES, Op};

proxy! {
    /// Values of different types, each by a name.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let settings = manager.namespace()?;
    /// settings.set("depth", 3u32)?;
    /// settings.set("title", "hello".to_string())?;
    /// assert_eq!(settings.get::<u32>("depth")?, Some(3));
    /// assert!(settings.get::<u32>("title").unwrap_err().is_decode());
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Differences from Python
    ///
    /// A name is a text, and its type is said when it is read; another type than the one that was
    /// written is an error.
    NamespaceProxy
}

impl Manager {
    /// A new namespace without names.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn namespace(&self) -> Result<NamespaceProxy, CallError> {
        self.make(Make::Map).map(NamespaceProxy::of)
    }

    /// The server's own namespace, which every client finds: the way to share objects with programs
    /// that are no family.
    ///
    /// ```
    /// use multiproc_manager::{Manager, QueueProxy};
    ///
    /// let manager = Manager::start()?;
    /// manager.names().set("jobs", manager.queue::<String>(8)?)?;
    ///
    /// // In another program, which knows the address and the key:
    /// let there = Manager::connect(manager.address(), manager.authkey())?;
    /// let jobs = there.names().get::<QueueProxy<String>>("jobs")?.expect("it is there");
    /// jobs.put("sweep".into())?;
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn names(&self) -> NamespaceProxy {
        NamespaceProxy::of(Handle::given(self.client(), NAMES))
    }
}

impl NamespaceProxy {
    fn ask(&self, op: MapOp) -> Result<Answer, CallError> {
        Ok(self.handle.ask(Op::Map(op))?)
    }

    /// Gives `name` a value.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn set<T: Data>(&self, name: &str, value: T) -> Result<(), CallError> {
        let key = key_bytes(name)?;
        let (value, _kept) = self.handle.pack(&(type_name::<T>().to_owned(), value))?;
        self.ask(MapOp::Insert { key, value }).map(drop)
    }

    /// The value of `name`.
    ///
    /// # Errors
    ///
    /// [`CallError::Decode`] if it is of another type; [`CallError`].
    pub fn get<T: Data>(&self, name: &str) -> Result<Option<T>, CallError> {
        let key = key_bytes(name)?;
        match self.ask(MapOp::Get { key })? {
            Answer::Value(None) => Ok(None),
            Answer::Value(Some(packed)) => {
                let wanted = type_name::<T>();
                // The type's name comes first, and can be read without the rest.
                let (found, _) = serde_name(&packed.bytes)
                    .ok_or_else(|| CallError::Protocol("a value without its type".into()))?;
                if found != wanted {
                    let why = format!("`{name}` is a `{found}`");
                    return Err(DecodeError::new(wanted, why).into());
                }
                let (_, value) = self.handle.unpack::<(String, T)>(packed)?;
                Ok(Some(value))
            }
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Takes `name` away; whether it was there.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn remove(&self, name: &str) -> Result<bool, CallError> {
        let key = key_bytes(name)?;
        match self.ask(MapOp::Remove { key })? {
            Answer::Value(old) => Ok(old.is_some()),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Whether `name` has a value.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn contains(&self, name: &str) -> Result<bool, CallError> {
        let key = key_bytes(name)?;
        flag(self.ask(MapOp::Contains { key })?)
    }
}

/// The text at the start of an encoding, and where it ends.
fn serde_name(bytes: &[u8]) -> Option<(&str, usize)> {
    let mut len = 0usize;
    for (index, &byte) in bytes.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let start = index + 1;
            let text = bytes.get(start..start.checked_add(len)?)?;
            return Some((std::str::from_utf8(text).ok()?, start + len));
        }
    }
    None
}
