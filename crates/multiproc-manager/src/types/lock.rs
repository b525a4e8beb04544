//! Locks in the server, reentrant or not.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc_sync::{AcquireError, ReleaseError};
use multiproc_sys::clock::Deadline;

use super::{flag, proxy, unit, wait_until};
use crate::client::Trouble;
use crate::error::{CallError, ProxyError};
use crate::handle::Handle;
use crate::manager::Manager;
use crate::message::{Failure, LockOp, Make, Op};

proxy! {
    /// A lock that lives in a manager's server. The thread that acquired it holds it.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let lock = manager.lock()?;
    /// let guard = lock.acquire()?;
    /// assert!(lock.is_locked()?);
    /// drop(guard);
    /// assert!(lock.try_acquire().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # If a process dies
    ///
    /// As with the [`Lock`](multiproc_sync::Lock) of processes: one whose owner died is free but
    /// suspect, and says [`AcquireError::OwnerDied`] until somebody calls
    /// [`recover`](LockProxy::recover).
    ///
    /// # Deadlocks
    ///
    /// As there: a thread about to wait in a cycle of owners, all without deadlines, is told
    /// [`AcquireError::Deadlock`]. The server sees the locks it has, and no others.
    LockProxy
}

proxy! {
    /// As [`LockProxy`]; the thread that holds it may acquire it again, and releases it as often.
    RLockProxy
}

impl Manager {
    /// A new lock.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn lock(&self) -> Result<LockProxy, CallError> {
        self.make(Make::Lock { reentrant: false })
            .map(LockProxy::of)
    }

    /// A new reentrant lock.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn rlock(&self) -> Result<RLockProxy, CallError> {
        self.make(Make::Lock { reentrant: true })
            .map(RLockProxy::of)
    }
}

/// The number of this thread, among those of this process.
pub(super) fn thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static MINE: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    MINE.with(|mine| *mine)
}

/// A lock of the server, held by this thread until the guard is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockProxyGuard<'a> {
    handle: &'a Handle,
    /// The thread holds it, so the guard stays there.
    here: PhantomData<*const ()>,
}

/// The errors of a verb that acquires.
pub(super) fn acquire_error(trouble: Trouble) -> ProxyError<AcquireError> {
    match trouble {
        Trouble::Failed(Failure::WouldBlock | Failure::TimedOut) => {
            ProxyError::Object(AcquireError::TimedOut)
        }
        Trouble::Failed(Failure::OwnerDied { pid, name }) => {
            ProxyError::Object(AcquireError::OwnerDied { pid, name })
        }
        Trouble::Failed(Failure::Deadlock(cycle)) => {
            ProxyError::Object(AcquireError::Deadlock { cycle })
        }
        other => CallError::from(other).into(),
    }
}

/// The same for a call that was not willing to wait.
pub(super) fn at_once(error: ProxyError<AcquireError>) -> ProxyError<AcquireError> {
    match error {
        ProxyError::Object(AcquireError::TimedOut) => ProxyError::Object(AcquireError::WouldBlock),
        other => other,
    }
}

/// The errors of a verb that releases.
pub(super) fn release_error(trouble: Trouble) -> ProxyError<ReleaseError> {
    ProxyError::Object(match trouble {
        Trouble::Failed(Failure::NotHeld) => ReleaseError::NotHeld,
        Trouble::Failed(Failure::NotOwner) => ReleaseError::NotOwner,
        Trouble::Failed(Failure::AboveBound) => ReleaseError::AboveBound,
        other => return CallError::from(other).into(),
    })
}

impl<'a> LockProxyGuard<'a> {
    fn acquire(handle: &'a Handle, op: LockOp) -> Result<Self, ProxyError<AcquireError>> {
        let answer = handle.ask(Op::Lock(op)).map_err(acquire_error)?;
        unit(answer)?;
        Ok(LockProxyGuard {
            handle,
            here: PhantomData,
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        self.handle
    }

    /// Keeps the lock without a guard, until `release` is called.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for LockProxyGuard<'_> {
    fn drop(&mut self) {
        let release = LockOp::Release { thread: thread() };
        self.handle
            .client()
            .post(self.handle.object(), Op::Lock(release));
    }
}

impl fmt::Debug for LockProxyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockProxyGuard").field(self.handle).finish()
    }
}

/// The two kinds have the same verbs.
macro_rules! lock_verbs {
    ($name:ident) => {
        impl $name {
            /// Waits for the lock.
            ///
            /// # Errors
            ///
            /// [`AcquireError`] as for the lock of processes, or [`CallError`].
            pub fn acquire(&self) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                self.acquire_until(Deadline::NEVER)
            }

            /// Takes the lock if nobody holds it.
            ///
            /// # Errors
            ///
            /// [`AcquireError::WouldBlock`], and as for `acquire`.
            pub fn try_acquire(&self) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                self.acquire_until(Deadline::NOW).map_err(at_once)
            }

            /// As `acquire`, for at most `timeout`. The server keeps the time.
            ///
            /// # Errors
            ///
            /// [`AcquireError::TimedOut`], and as for `acquire`.
            pub fn acquire_timeout(
                &self,
                timeout: Duration,
            ) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
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
            ) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                self.acquire_until(Deadline::at(deadline))
            }

            fn acquire_until(
                &self,
                deadline: Deadline,
            ) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                let (thread, wait) = (thread(), wait_until(deadline));
                LockProxyGuard::acquire(&self.handle, LockOp::Acquire { thread, wait })
            }

            /// Takes the lock though its owner died, and marks it sound. Waits like `acquire` for
            /// somebody who holds it.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn recover(&self) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                self.recover_until(Deadline::NEVER)
            }

            /// As `recover`, if nobody holds it.
            ///
            /// # Errors
            ///
            /// [`AcquireError::WouldBlock`], and as for `recover`.
            pub fn try_recover(&self) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                self.recover_until(Deadline::NOW).map_err(at_once)
            }

            /// As `recover`, for at most `timeout`. The server keeps the time.
            ///
            /// # Errors
            ///
            /// [`AcquireError::TimedOut`], and as for `recover`.
            pub fn recover_timeout(
                &self,
                timeout: Duration,
            ) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                self.recover_until(Deadline::after(timeout))
            }

            /// As `recover`, until `deadline` at most.
            ///
            /// # Errors
            ///
            /// As for `recover_timeout`.
            pub fn recover_deadline(
                &self,
                deadline: Instant,
            ) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                self.recover_until(Deadline::at(deadline))
            }

            fn recover_until(
                &self,
                deadline: Deadline,
            ) -> Result<LockProxyGuard<'_>, ProxyError<AcquireError>> {
                let (thread, wait) = (thread(), wait_until(deadline));
                LockProxyGuard::acquire(&self.handle, LockOp::Recover { thread, wait })
            }

            /// Releases the lock, as Python code does, after its guard was leaked.
            ///
            /// # Errors
            ///
            /// [`ReleaseError`] as for the lock of processes, or [`CallError`].
            pub fn release(&self) -> Result<(), ProxyError<ReleaseError>> {
                let release = Op::Lock(LockOp::Release { thread: thread() });
                let answer = self.handle.ask(release).map_err(release_error)?;
                Ok(unit(answer)?)
            }

            /// Whether somebody holds it.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn is_locked(&self) -> Result<bool, CallError> {
                flag(self.handle.ask(Op::Lock(LockOp::IsLocked))?)
            }
        }
    };
}

lock_verbs!(LockProxy);
lock_verbs!(RLockProxy);
