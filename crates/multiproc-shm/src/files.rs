//! Open files inside parcels.
//!
//! A descriptor is a number that means something in one process, and shared memory cannot hold one. So
//! the open files of a parcel stand in the arena as one small object, the *bundle*, which the parcel
//! owns like any other object; it says where among the parcel's attachments they belong. The files
//! themselves wait in the kernel, in a packet that nobody takes out of its socket but that anybody may
//! look at, any number of times. One end of that socket is kept by the family's *file exchange*, in
//! the root process, under the bundle's handle.
//!
//! A member asks the exchange by a packet into a socket that all members have from their start; each
//! packet brings a socket for the answer. The root itself looks in its own table. What `put` returns
//! for has been acknowledged: a parcel is never visible before its files are.
//!
//! The bundle's end is the files' end: whoever frees one tells the exchange to look which of its
//! entries still have a live bundle, and so does whoever sweeps a dead member.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | storing, bundle made | a plain object of the dead: swept |
//! | request sent | the same; the exchange keeps the files, if it does, until the sweep, which tells it |
//! | acknowledged, not yet in the parcel | the same |
//! | in the parcel | a parcel of the dead, or in a message: as any parcel |
//! | loading, anywhere | nothing has changed: files are only looked at; the answer's socket is closed by the kernel |
//! | bundle freed, exchange not told | the death, and so a sweep, which tells it |
//! | the root, anywhere | requests fail, with an error that says why; files under way are closed |
//!
//! A root that is *stopped* (SIGSTOP) answers nobody: requests give up after [`exchange::PATIENCE`].

mod exchange;
mod pack;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use multiproc_wire::{Attachment, OpenFile};

use crate::arena::Arena;
use crate::error::{CreateError, OpenError};
use crate::object::{Kind, Object};

pub(crate) use exchange::{adopt, ensure, leave_behind, members_end};

/// `b"file"`: a bundle. Its words: how many files, then for each its place among the attachments.
const TAG: u32 = u32::from_le_bytes(*b"file");

/// Whether this process has freed a bundle and not told the exchange yet.
static FREED: AtomicBool = AtomicBool::new(false);

/// Takes the open files out of `attachments` and hands them to the exchange: what is left, and the
/// bundle that stands for them, if there were any.
pub(crate) fn bundle(
    attachments: &[Attachment],
) -> Result<(Vec<Attachment>, Option<Object>), CreateError> {
    let (mut others, mut files, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, attachment) in (0..).zip(attachments) {
        match attachment.downcast_ref::<OpenFile>() {
            Some(file) => {
                files.push(file.as_fd());
                places.push(place);
            }
            None => others.push(Arc::clone(attachment)),
        }
    }
    let bundle = match files.is_empty() {
        true => None,
        false => Some(keep(&files, &places)?),
    };
    Ok((others, bundle))
}

fn keep(files: &[BorrowedFd<'_>], places: &[u64]) -> Result<Object, CreateError> {
    let packed = pack::pack(files)?;
    let bundle = Object::create(Kind::Plain, TAG, (1 + places.len()) * 8, |_| {})?;
    bundle.words()[0].store(places.len() as u64, Ordering::Relaxed);
    for (word, &place) in bundle.words()[1..].iter().zip(places) {
        word.store(place, Ordering::Relaxed);
    }
    let header = bundle.arena().header();
    header.files.store(1, Ordering::Relaxed);
    exchange::keep(bundle.handle(), packed)?;
    Ok(bundle)
}

/// Puts the files of `bundle` among the other attachments of its parcel.
pub(crate) fn unbundle(
    bundle: &Object,
    others: Vec<Attachment>,
) -> Result<Vec<Attachment>, OpenError> {
    let wrong = || OpenError::Corrupt("a parcel's open files are not those it was stored with");
    if bundle.tag() != TAG || bundle.kind() != Kind::Plain {
        return Err(wrong());
    }
    let (count, places) = bundle.words().split_first().ok_or_else(wrong)?;
    let count = count.load(Ordering::Relaxed);
    let count = usize::try_from(count).ok().filter(|&n| n <= places.len());
    let places = &places[..count.ok_or_else(wrong)?];
    let files = exchange::look_at(bundle.handle())?;
    if files.len() != places.len() {
        return Err(wrong());
    }
    let mut places = places.iter().map(|place| place.load(Ordering::Relaxed));
    let mut next_place = places.next();
    let mut files = files.into_iter();
    let mut others = others.into_iter();
    let mut all = Vec::with_capacity(files.len() + others.len());
    loop {
        let next: Option<Attachment> = if next_place == Some(all.len() as u64) {
            next_place = places.next();
            files.next().map(as_attachment)
        } else {
            others.next()
        };
        match next {
            Some(attachment) => all.push(attachment),
            None if files.len() == 0 => return Ok(all),
            None => return Err(wrong()),
        }
    }
}

fn as_attachment(file: OwnedFd) -> Attachment {
    Arc::new(OpenFile::new(file))
}

/// An object is being freed: if it is a bundle, the exchange is to hear of it once the arena lock has
/// been released.
#[inline]
pub(crate) fn note_freed(tag: u32) {
    if tag == TAG {
        FREED.store(true, Ordering::Relaxed);
    }
}

/// Tells the exchange of bundles that this process has freed. Not under the arena lock.
#[inline]
pub(crate) fn tell_of_freed() {
    if FREED.load(Ordering::Relaxed) && FREED.swap(false, Ordering::Relaxed) {
        exchange::look();
    }
}

/// Tells the exchange that a member has died, which may have freed a bundle and not said so.
pub(crate) fn tell_of_death(arena: &'static Arena) {
    if arena.header().files.load(Ordering::Relaxed) != 0 {
        FREED.store(false, Ordering::Relaxed);
        exchange::look();
    }
}
