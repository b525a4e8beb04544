//! Who may attach a handle right now: the thread's one open encoding or decoding.
//!
//! serde gives a handle's `Serialize` no way to reach the parcel it is written into, so the parcel's
//! attachments wait here, in a thread-local, while its value is walked. The invariant: **whoever
//! opens a scope puts the former one back**, on return, on error and on unwinding, so that an
//! encoding inside another (a `Serialize` that encodes something of its own) leaves no trace.
//!
//! Most values have no handles, and all of them pass through here. So a scope is two words, with the
//! list of attachments behind a pointer that is null until there is one: that keeps an encoding or
//! decoding about 20 ns shorter than a list inside the scope does.

use std::cell::Cell;
use std::sync::Arc;

use crate::error::NotTravelling;
use crate::parcel::{Attachment, Parcel};

/// What the thread is doing.
#[derive(Default)]
enum Scope {
    /// Nothing of ours: a handle met now is in another format's hands.
    #[default]
    Closed,
    /// Attachments of the parcel being written, in order of their index.
    Encoding(List),
    /// Attachments that came with the parcel being read.
    Decoding(List),
    /// The same, of a parcel that is read this once: each is handed out, and gone from here.
    DecodingOnce(List),
}

/// No attachments, or some.
#[derive(Default)]
struct List(Option<Box<Attachments>>);

struct Attachments(Vec<Attachment>);

impl List {
    #[inline]
    fn new(attachments: Vec<Attachment>) -> List {
        match attachments.is_empty() {
            true => List(None),
            false => List(Some(Box::new(Attachments(attachments)))),
        }
    }

    fn get(&self, index: u32) -> Option<&Attachment> {
        self.0.as_ref()?.0.get(index as usize)
    }

    fn take(&mut self, index: u32) -> Option<Attachment> {
        let slot = self.0.as_mut()?.0.get_mut(index as usize)?;
        Some(std::mem::replace(slot, Arc::new(())))
    }

    fn push(&mut self, attachment: Attachment) -> Result<u32, NotTravelling> {
        let list = self
            .0
            .get_or_insert_with(|| Box::new(Attachments(Vec::new())));
        let index = u32::try_from(list.0.len()).map_err(|_| NotTravelling::TooMany)?;
        list.0.push(attachment);
        Ok(index)
    }
}

thread_local! {
    static SCOPE: Cell<Scope> = const { Cell::new(Scope::Closed) };
}

/// Whether the thread has a scope at all. It has none when it is so far gone that its thread-locals
/// are; values without handles still work then.
#[inline]
fn is_there() -> bool {
    SCOPE.try_with(|_| ()).is_ok()
}

/// Makes `scope` the thread's own and returns the former one.
#[inline]
fn enter(scope: Scope) -> Option<Scope> {
    SCOPE.try_with(|cell| cell.replace(scope)).ok()
}

/// Looks at the scope, or changes it. It is closed meanwhile, so `look` must not come back here.
fn with<R>(look: impl FnOnce(&mut Scope) -> Result<R, NotTravelling>) -> Result<R, NotTravelling> {
    let looked = SCOPE.try_with(|cell| {
        let mut scope = cell.take();
        let result = look(&mut scope);
        cell.set(scope);
        result
    });
    looked.unwrap_or(Err(NotTravelling::OutsideChannel))
}

/// An encoding under way: until it is dropped, attachments go to its parcel. Dropped without
/// [`Encoding::keep`] it leaves the parcel as it was.
pub(super) struct Encoding<'p> {
    parcel: &'p mut Parcel,
    bytes_before: usize,
    attachments_before: usize,
    /// `None` if no scope could be opened.
    former: Option<Scope>,
    kept: bool,
}

impl<'p> Encoding<'p> {
    #[inline]
    pub(super) fn open(parcel: &'p mut Parcel) -> Encoding<'p> {
        let bytes_before = parcel.bytes.len();
        let attachments_before = parcel.attachments.len();
        let former = match is_there() {
            true => {
                // What is empty is left where it is: moving it to and fro costs as much as a number.
                let list = match parcel.attachments.is_empty() {
                    true => List(None),
                    false => List::new(std::mem::take(&mut parcel.attachments)),
                };
                enter(Scope::Encoding(list))
            }
            false => None,
        };
        Encoding {
            parcel,
            bytes_before,
            attachments_before,
            former,
            kept: false,
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.parcel.bytes
    }

    #[inline]
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Encoding<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(former) = self.former.take()
            && let Some(Scope::Encoding(List(Some(list)))) = enter(former)
        {
            self.parcel.attachments = list.0;
        }
        if !self.kept {
            self.parcel.bytes.truncate(self.bytes_before);
            self.parcel.attachments.truncate(self.attachments_before);
        }
    }
}

/// A decoding under way: until it is dropped, indices mean its attachments.
pub(super) struct Decoding {
    former: Option<Scope>,
}

impl Decoding {
    #[inline]
    pub(super) fn open(attachments: &[Attachment]) -> Decoding {
        let list = match attachments {
            [] => List(None),
            some => List::new(some.to_vec()),
        };
        Decoding {
            former: enter(Scope::Decoding(list)),
        }
    }
}

impl Decoding {
    #[inline]
    pub(super) fn open_once(attachments: Vec<Attachment>) -> Decoding {
        Decoding {
            former: enter(Scope::DecodingOnce(List::new(attachments))),
        }
    }
}

impl Drop for Decoding {
    #[inline]
    fn drop(&mut self) {
        if let Some(former) = self.former.take() {
            enter(former);
        }
    }
}

/// Puts `attachment` into the parcel being written on this thread and returns its index there, which
/// is what the handle writes as its bytes.
///
/// # Errors
///
/// [`NotTravelling::OutsideChannel`] if this thread encodes nothing: the handle is being serialised
/// by something other than multiproc.
pub fn attach(attachment: Attachment) -> Result<u32, NotTravelling> {
    with(|scope| match scope {
        Scope::Encoding(list) => list.push(attachment),
        _ => Err(NotTravelling::OutsideChannel),
    })
}

/// The attachment at `index` of the parcel being read on this thread. Ask for it once: in a parcel
/// that is read only once it is handed out, and something else is in its place then.
///
/// # Errors
///
/// [`NotTravelling::OutsideChannel`] if this thread decodes nothing,
/// [`NotTravelling::NoSuchAttachment`] if the parcel came with fewer.
pub fn attached(index: u32) -> Result<Attachment, NotTravelling> {
    with(|scope| match scope {
        Scope::Decoding(list) => list
            .get(index)
            .cloned()
            .ok_or(NotTravelling::NoSuchAttachment),
        Scope::DecodingOnce(list) => list.take(index).ok_or(NotTravelling::NoSuchAttachment),
        _ => Err(NotTravelling::OutsideChannel),
    })
}
