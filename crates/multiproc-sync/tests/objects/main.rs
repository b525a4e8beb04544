//! What each shared object promises, between threads and between processes, whoever dies.
//!
//! `CHAOS=n` runs twenty times as many kills. The seed is printed.

mod array;
mod barrier;
mod common;
mod condition;
mod deadlock;
mod edges;
mod event;
mod owned;
mod rwlock;
mod semaphore;
mod verbs;
mod wait;
