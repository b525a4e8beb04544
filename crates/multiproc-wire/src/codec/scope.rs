//! Who may attach a handle right now: the thread's one open encoding or decoding.
//!
//! serde gives a handle's `Serialize` no way to reach the parcel it is written into, so the parcel's
//! attachments wait here, in a thread-local, while its value is walked. The invariant: **whoever
//! opens a scope puts the former one back**, on return, on error and on unwinding, so that an
//! encoding inside another (a `Serialize` that encodes something of its own) leaves no trace.

use std::cell::RefCell;

use crate::error::NotTravelling;
use crate::parcel::{Attachment, Parcel};

/// What the thread is doing.
#[derive(Default)]
enum Scope {
    /// Nothing of ours: a handle met now is in another format's hands.
    #[default]
    Closed,
    /// Attachments of the parcel being written, in order of their index.
    Encoding(Vec<Attachment>),
    /// Attachments that came with the parcel being read.
    Decoding(Vec<Attachment>),
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Closed) };
}

/// Makes `scope` the thread's own and returns the former one. `Err` gives it back unused, when the
/// thread is so far gone that its thread-locals are; values without handles still work then.
fn enter(scope: Scope) -> Result<Scope, Scope> {
    let mut scope = Some(scope);
    // Nothing is dropped while the cell is borrowed: an attachment's drop may encode again.
    let former = SCOPE.try_with(|cell| cell.replace(scope.take().unwrap_or_default()));
    former.map_err(|_| scope.unwrap_or_default())
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
    pub(super) fn open(parcel: &'p mut Parcel) -> Encoding<'p> {
        let bytes_before = parcel.bytes.len();
        let attachments_before = parcel.attachments.len();
        let former = match enter(Scope::Encoding(std::mem::take(&mut parcel.attachments))) {
            Ok(former) => Some(former),
            Err(Scope::Encoding(attachments)) => {
                parcel.attachments = attachments;
                None
            }
            Err(_) => None,
        };
        Encoding {
            parcel,
            bytes_before,
            attachments_before,
            former,
            kept: false,
        }
    }

    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.parcel.bytes
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Encoding<'_> {
    fn drop(&mut self) {
        if let Some(former) = self.former.take()
            && let Ok(Scope::Encoding(attachments)) = enter(former)
        {
            self.parcel.attachments = attachments;
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
    pub(super) fn open(attachments: &[Attachment]) -> Decoding {
        Decoding {
            former: enter(Scope::Decoding(attachments.to_vec())).ok(),
        }
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        if let Some(former) = self.former.take() {
            drop(enter(former));
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
    let put = SCOPE.try_with(|cell| match &mut *cell.borrow_mut() {
        Scope::Encoding(attachments) => {
            let index = u32::try_from(attachments.len()).map_err(|_| NotTravelling::TooMany)?;
            attachments.push(attachment);
            Ok(index)
        }
        _ => Err(NotTravelling::OutsideChannel),
    });
    put.unwrap_or(Err(NotTravelling::OutsideChannel))
}

/// The attachment at `index` of the parcel being read on this thread. It may be asked for more than
/// once.
///
/// # Errors
///
/// [`NotTravelling::OutsideChannel`] if this thread decodes nothing,
/// [`NotTravelling::NoSuchAttachment`] if the parcel came with fewer.
pub fn attached(index: u32) -> Result<Attachment, NotTravelling> {
    let got = SCOPE.try_with(|cell| match &*cell.borrow() {
        Scope::Decoding(attachments) => {
            let attachment = attachments.get(index as usize);
            attachment.cloned().ok_or(NotTravelling::NoSuchAttachment)
        }
        _ => Err(NotTravelling::OutsideChannel),
    });
    got.unwrap_or(Err(NotTravelling::OutsideChannel))
}
