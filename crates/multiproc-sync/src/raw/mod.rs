//! The mechanisms below the public types: no guards, no recovery policy.

pub(crate) mod barrier;
pub(crate) mod copies;
pub(crate) mod holders;
pub(crate) mod lock;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
pub(crate) mod sequence;
