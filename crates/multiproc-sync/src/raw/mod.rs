//! The mechanisms below the public types: no guards, no recovery policy. All they need of the world
//! comes through `crate::door`, as a model checker runs these files, too.

pub(crate) mod barrier;
pub(crate) mod copies;
pub(crate) mod event;
pub(crate) mod holders;
pub(crate) mod lock;
pub(crate) mod meeting;
pub(crate) mod once;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
pub(crate) mod sequence;
