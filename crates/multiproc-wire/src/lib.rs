#![doc = include_str!("../PROTOCOL.md")]
#![deny(unsafe_code)]

mod bytes;
pub mod codec;
mod error;
mod failure;
mod fd;
#[expect(
    unsafe_code,
    reason = "makes function pointers from addresses it has checked"
)]
mod function;
mod parcel;
#[expect(unsafe_code, reason = "calls functions by addresses it has checked")]
pub mod task;

pub use bytes::Bytes;
pub use error::{DecodeError, EncodeError, FunctionError, NotTravelling, RunError};
pub use failure::TaskFailure;
pub use fd::{Fd, OpenFile};
pub use function::{Function, Pointer};
pub use parcel::{Attachment, Parcel};
