//! Semaphores in the server.

use std::fmt;
use std::time::{Duration, Instant};

use multiproc_sync::{AcquireError, ReleaseError};
use multiproc_sys::clock::Deadline;

use super::lock::{acquire_error, at_once, release_error};
use super::{count, proxy, unit, wait_until};
use crate::error::{CallError, ProxyError};
use crate::handle::Handle;
use crate::manager::Manager;
use crate::message::{Make, Op, SemaphoreOp};

proxy! {
    /// A semaphore that lives in a manager's server.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let seats = manager.semaphore(2)?;
    /// let one = seats.acquire()?;
    /// let two = seats.acquire()?;
    /// assert!(seats.try_acquire().is_err());
    /// drop((one, two));
    /// assert_eq!(seats.value()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # If a process dies
    ///
    /// Its permits go back.
    SemaphoreProxy
}

proxy! {
    /// As [`SemaphoreProxy`]; there are never more permits than it was made with.
    BoundedSemaphoreProxy
}

impl Manager {
    /// A new semaphore with so many permits.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn semaphore(&self, permits: u32) -> Result<SemaphoreProxy, CallError> {
        let (permits, most) = (permits.into(), u32::MAX.into());
        self.make(Make::Semaphore { permits, most })
            .map(SemaphoreProxy::of)
    }

    /// A new bounded semaphore with so many permits.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn bounded_semaphore(&self, permits: u32) -> Result<BoundedSemaphoreProxy, CallError> {
        let permits = permits.into();
        let make = Make::Semaphore {
            permits,
            most: permits,
        };
        self.make(make).map(BoundedSemaphoreProxy::of)
    }
}

/// A permit of a semaphore in the server, given back when dropped.
#[must_use = "the permit goes back when it is dropped"]
pub struct PermitProxy<'a> {
    handle: &'a Handle,
    permit: u64,
}

impl PermitProxy<'_> {
    /// Keeps the permit without a guard, until `release` is called.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for PermitProxy<'_> {
    fn drop(&mut self) {
        let permit = Some(self.permit);
        let release = Op::Semaphore(SemaphoreOp::Release { permit });
        self.handle.client().post(self.handle.object(), release);
    }
}

impl fmt::Debug for PermitProxy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PermitProxy").field(self.handle).finish()
    }
}

/// The two kinds have the same verbs.
macro_rules! semaphore_verbs {
    ($name:ident) => {
        impl $name {
            /// Waits for a free permit, and takes it.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn acquire(&self) -> Result<PermitProxy<'_>, ProxyError<AcquireError>> {
                self.acquire_until(Deadline::NEVER)
            }

            /// Takes a permit if one is free.
            ///
            /// # Errors
            ///
            /// [`AcquireError::WouldBlock`], or [`CallError`].
            pub fn try_acquire(&self) -> Result<PermitProxy<'_>, ProxyError<AcquireError>> {
                self.acquire_until(Deadline::NOW).map_err(at_once)
            }

            /// As `acquire`, for at most `timeout`. The server keeps the time.
            ///
            /// # Errors
            ///
            /// [`AcquireError::TimedOut`], or [`CallError`].
            pub fn acquire_timeout(
                &self,
                timeout: Duration,
            ) -> Result<PermitProxy<'_>, ProxyError<AcquireError>> {
                self.acquire_until(Deadline::after(timeout))
            }

            /// As `acquire`, until `deadline` at most.
            ///
            /// # Errors
            ///
            /// As for `acquire_timeout`.
            pub fn acquire_deadline(
                &self,
                deadline: Instant,
            ) -> Result<PermitProxy<'_>, ProxyError<AcquireError>> {
                self.acquire_until(Deadline::at(deadline))
            }

            fn acquire_until(
                &self,
                deadline: Deadline,
            ) -> Result<PermitProxy<'_>, ProxyError<AcquireError>> {
                let wait = wait_until(deadline);
                let op = Op::Semaphore(SemaphoreOp::Acquire { wait });
                let answer = self.handle.ask(op).map_err(acquire_error)?;
                Ok(PermitProxy {
                    handle: &self.handle,
                    permit: count(answer)? as u64,
                })
            }

            /// Gives a permit back, as Python code does: one of this process, else anybody's, else
            /// a new one.
            ///
            /// # Errors
            ///
            /// [`ReleaseError::AboveBound`], or [`CallError`].
            pub fn release(&self) -> Result<(), ProxyError<ReleaseError>> {
                let op = Op::Semaphore(SemaphoreOp::Release { permit: None });
                let answer = self.handle.ask(op).map_err(release_error)?;
                Ok(unit(answer)?)
            }

            /// How many permits are free.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn value(&self) -> Result<u32, CallError> {
                let free = count(self.handle.ask(Op::Semaphore(SemaphoreOp::Value))?)?;
                Ok(u32::try_from(free).unwrap_or(u32::MAX))
            }
        }
    };
}

semaphore_verbs!(SemaphoreProxy);
semaphore_verbs!(BoundedSemaphoreProxy);
