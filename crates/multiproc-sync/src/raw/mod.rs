//! The mechanisms below the public types: no guards, no recovery policy.

pub(crate) mod barrier;
pub(crate) mod lock;
pub(crate) mod sequence;
