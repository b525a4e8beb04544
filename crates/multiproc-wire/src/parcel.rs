//! What a value becomes on its way to another process.

use std::any::Any;
use std::sync::Arc;

/// A shared thing that travels beside the bytes: an object of the family's memory or an open file.
///
/// The `Arc` keeps it alive for as long as the parcel exists. How it reaches the other process is
/// the carrier's business; this crate only keeps the order.
pub type Attachment = Arc<dyn Any + Send + Sync>;

/// One or more encoded values: their bytes, and what they refer to.
///
/// A handle inside a value is, in the bytes, the index of its attachment.
#[derive(Debug, Default, Clone)]
pub struct Parcel {
    /// The encoded values, one after the other.
    pub bytes: Vec<u8>,
    /// What handles in `bytes` refer to by index.
    pub attachments: Vec<Attachment>,
}
