//! An open file or socket as a value.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// An open file, socket or other owner of a descriptor: `Fd(listener)`, `Fd(file)`.
///
/// It is what it wraps, by `Deref`; [`Fd::into_inner`] takes it out again.
///
/// ```
/// use multiproc_wire::Fd;
///
/// let listener = Fd(std::net::TcpListener::bind("127.0.0.1:0")?);
/// assert_ne!(listener.local_addr()?.port(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Fd<T>(pub T);

impl<T> Fd<T> {
    /// What it wraps.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Fd<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Fd<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Fd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fd").field(&self.0).finish()
    }
}

impl<T> From<T> for Fd<T> {
    fn from(inner: T) -> Fd<T> {
        Fd(inner)
    }
}
