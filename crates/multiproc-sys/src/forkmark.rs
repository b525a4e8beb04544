//! forkmark
