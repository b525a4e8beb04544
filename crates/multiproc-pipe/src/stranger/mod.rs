//! Connections between programs that are no family: who may connect, and what frames they send.

pub mod address;
pub mod bound;
pub mod frame;
pub mod gate;
pub mod handshake;
pub mod key;
pub(crate) mod socket;
