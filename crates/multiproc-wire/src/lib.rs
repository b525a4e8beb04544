#![doc = include_str!("../PROTOCOL.md")]

mod bytes;
pub mod codec;
mod error;
mod failure;
mod parcel;
pub mod task;

pub use bytes::Bytes;
pub use error::{DecodeError, EncodeError, FunctionError, NotTravelling, RunError};
pub use failure::TaskFailure;
pub use parcel::{Attachment, Parcel};
