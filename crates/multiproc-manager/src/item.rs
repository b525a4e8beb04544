//! Values as the server keeps them: encoded, in as little memory as can be, and holding the objects
//! that proxies inside them stand for.
//!
//! The invariant this file owns: **an object lives exactly as long as somebody holds its
//! [`Anchor`]**: a client's table, or a value in another object. The last one to let go notes the
//! object's number, and the server removes what is noted when it is next done with a request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use multiproc_wire::Bytes;
use parking_lot::Mutex;

use crate::message::Packed;

/// What keeps an object alive.
#[derive(Debug)]
pub(crate) struct Anchor {
    object: u64,
    anchors: Weak<Anchors>,
}

impl Anchor {
    pub(crate) fn object(&self) -> u64 {
        self.object
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        if let Some(anchors) = self.anchors.upgrade() {
            anchors.dropped.lock().push(self.object);
            anchors.any_dropped.store(true, Ordering::Release);
        }
    }
}

/// All objects, by what keeps them alive.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    live: Mutex<HashMap<u64, Weak<Anchor>>>,
    /// Objects nobody holds any more, to be removed.
    dropped: Mutex<Vec<u64>>,
    /// Whether there are some: asked after each request.
    any_dropped: AtomicBool,
}

impl Anchors {
    pub(crate) fn make(self: &Arc<Anchors>, object: u64) -> Arc<Anchor> {
        let anchor = Arc::new(Anchor {
            object,
            anchors: Arc::downgrade(self),
        });
        self.live.lock().insert(object, Arc::downgrade(&anchor));
        anchor
    }

    pub(crate) fn get(&self, object: u64) -> Option<Arc<Anchor>> {
        self.live.lock().get(&object)?.upgrade()
    }

    /// The objects that have become nobody's, each once.
    pub(crate) fn take_dropped(&self) -> Vec<u64> {
        if !self.any_dropped.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        let dropped = std::mem::take(&mut *self.dropped.lock());
        if !dropped.is_empty() {
            let mut live = self.live.lock();
            for object in &dropped {
                live.remove(object);
            }
        }
        dropped
    }
}

/// The longest encoding that needs no memory of its own.
const INLINE: usize = 14;

/// An encoded value. Small, because there may be millions.
#[derive(Clone, Debug)]
pub(crate) struct Item(Form);

#[derive(Clone, Debug)]
enum Form {
    Inline { len: u8, bytes: [u8; INLINE] },
    Boxed(Box<Boxed>),
}

#[derive(Clone, Debug)]
struct Boxed {
    bytes: Box<[u8]>,
    links: Box<[Arc<Anchor>]>,
}

const _: () = assert!(size_of::<Item>() == 16);

impl Item {
    pub(crate) fn plain(bytes: Bytes) -> Item {
        Item::linked(bytes, Vec::new())
    }

    pub(crate) fn linked(bytes: Bytes, links: Vec<Arc<Anchor>>) -> Item {
        let len = bytes.len();
        if len > INLINE || !links.is_empty() {
            let bytes = bytes.into_vec().into_boxed_slice();
            let links = links.into_boxed_slice();
            return Item(Form::Boxed(Box::new(Boxed { bytes, links })));
        }
        let mut inline = [0; INLINE];
        inline[..len].copy_from_slice(&bytes);
        Item(Form::Inline {
            len: len as u8,
            bytes: inline,
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Form::Boxed(boxed) => &boxed.bytes,
        }
    }

    /// The objects that proxies in the value stand for, by index.
    pub(crate) fn links(&self) -> &[Arc<Anchor>] {
        match &self.0 {
            Form::Inline { .. } => &[],
            Form::Boxed(boxed) => &boxed.links,
        }
    }

    /// As a message. Who receives it must be given a handle for each link first.
    pub(crate) fn pack(&self) -> Packed {
        Packed {
            bytes: self.bytes().into(),
            links: self.links().iter().map(|anchor| anchor.object()).collect(),
        }
    }
}

/// Two values are the same if their encodings are.
impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.bytes() == other.bytes()
            && self
                .links()
                .iter()
                .map(|anchor| anchor.object())
                .eq(other.links().iter().map(|anchor| anchor.object()))
    }
}

/// An encoded key: an item without links, in the order of its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Key(Item);

impl Key {
    pub(crate) fn new(bytes: Bytes) -> Key {
        Key(Item::plain(bytes))
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        self.0.bytes().into()
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.0.bytes() == other.0.bytes()
    }
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        self.0.bytes().cmp(other.0.bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_comes_back() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 1000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            assert_eq!(Item::plain(bytes.clone().into()).bytes(), bytes);
        }
    }

    #[test]
    fn an_object_is_dropped_with_its_last_anchor() {
        let anchors = Arc::new(Anchors::default());
        let anchor = anchors.make(7);
        let item = Item::linked(vec![1].into(), vec![Arc::clone(&anchor)]);
        let copy = item.clone();
        drop((anchor, item));
        assert!(anchors.take_dropped().is_empty());
        assert_eq!(copy.pack().links, [7]);
        drop(copy);
        assert_eq!(anchors.take_dropped(), [7]);
        assert!(anchors.get(7).is_none());
    }
}
