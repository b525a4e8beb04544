//! A condition in the server. It is used with a lock of the same server.

use std::time::{Duration, Instant};

use multiproc_sync::AcquireError;
use multiproc_sys::clock::Deadline;

use super::lock::{acquire_error, thread};
use super::{LockProxyGuard, count, flag, proxy, wait_until};
use crate::error::{CallError, ProxyError};
use crate::manager::Manager;
use crate::message::{ConditionOp, Make, Op};

proxy! {
    /// A condition that lives in a manager's server: threads of any process wait until they are
    /// notified, with a [`LockProxy`](crate::LockProxy) or [`RLockProxy`](crate::RLockProxy) of the
    /// same server released meanwhile.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let (lock, changed, value) = (manager.lock()?, manager.condition()?, manager.value(0)?);
    /// let waiter = std::thread::spawn({
    ///     let (lock, changed, value) = (lock.clone(), changed.clone(), value.clone());
    ///     move || {
    ///         let mut guard = lock.acquire().unwrap();
    ///         changed.wait_while(&mut guard, || Ok(value.get()? == 0)).unwrap();
    ///         value.get().unwrap()
    ///     }
    /// });
    /// let guard = lock.acquire()?;
    /// value.set(5)?;
    /// changed.notify_all()?;
    /// drop(guard);
    /// assert_eq!(waiter.join().unwrap(), 5);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # If a process dies
    ///
    /// While it waits: the others wait on. While it holds the lock: waiters that are notified get
    /// [`AcquireError::OwnerDied`] instead of the lock.
    ///
    /// # Differences from Python
    ///
    /// The lock is one of its own, named at each wait by its guard. Notifying needs no lock.
    ConditionProxy
}

impl Manager {
    /// A new condition.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn condition(&self) -> Result<ConditionProxy, CallError> {
        self.make(Make::Condition).map(ConditionProxy::of)
    }
}

type Answer<T> = Result<T, ProxyError<AcquireError>>;

impl ConditionProxy {
    /// Releases the lock, waits to be notified, and acquires the lock again.
    ///
    /// # Errors
    ///
    /// [`AcquireError::OwnerDied`] if the lock could not be had again (the guard then releases
    /// nothing), or [`CallError`].
    pub fn wait(&self, guard: &mut LockProxyGuard<'_>) -> Answer<()> {
        self.wait_until(guard, Deadline::NEVER).map(drop)
    }

    /// As [`ConditionProxy::wait`], for at most `timeout`; whether it was notified.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait`].
    pub fn wait_timeout(&self, guard: &mut LockProxyGuard<'_>, timeout: Duration) -> Answer<bool> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// As [`ConditionProxy::wait_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait`].
    pub fn wait_deadline(&self, guard: &mut LockProxyGuard<'_>, deadline: Instant) -> Answer<bool> {
        self.wait_until(guard, Deadline::at(deadline))
    }

    /// Waits as long as `condition` holds.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait`], and what `condition` says.
    pub fn wait_while(
        &self,
        guard: &mut LockProxyGuard<'_>,
        mut condition: impl FnMut() -> Result<bool, CallError>,
    ) -> Answer<()> {
        self.wait_for(guard, || condition().map(|holds| !holds))
    }

    /// As [`ConditionProxy::wait_while`], for at most `timeout` in all; true if the condition ended in
    /// time.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait_while`].
    pub fn wait_while_timeout(
        &self,
        guard: &mut LockProxyGuard<'_>,
        mut condition: impl FnMut() -> Result<bool, CallError>,
        timeout: Duration,
    ) -> Answer<bool> {
        self.wait_for_timeout(guard, || condition().map(|holds| !holds), timeout)
    }

    /// As [`ConditionProxy::wait_while_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait_while`].
    pub fn wait_while_deadline(
        &self,
        guard: &mut LockProxyGuard<'_>,
        mut condition: impl FnMut() -> Result<bool, CallError>,
        deadline: Instant,
    ) -> Answer<bool> {
        self.wait_for_deadline(guard, || condition().map(|holds| !holds), deadline)
    }

    /// Waits until `predicate` holds: [`ConditionProxy::wait_while`] the other way round.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait_while`].
    pub fn wait_for(
        &self,
        guard: &mut LockProxyGuard<'_>,
        predicate: impl FnMut() -> Result<bool, CallError>,
    ) -> Answer<()> {
        self.wait_for_until(guard, Deadline::NEVER, predicate)
            .map(drop)
    }

    /// As [`ConditionProxy::wait_for`], for at most `timeout` in all; returns the predicate's last
    /// value.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait_while`].
    pub fn wait_for_timeout(
        &self,
        guard: &mut LockProxyGuard<'_>,
        predicate: impl FnMut() -> Result<bool, CallError>,
        timeout: Duration,
    ) -> Answer<bool> {
        self.wait_for_until(guard, Deadline::after(timeout), predicate)
    }

    /// As [`ConditionProxy::wait_for_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`ConditionProxy::wait_while`].
    pub fn wait_for_deadline(
        &self,
        guard: &mut LockProxyGuard<'_>,
        predicate: impl FnMut() -> Result<bool, CallError>,
        deadline: Instant,
    ) -> Answer<bool> {
        self.wait_for_until(guard, Deadline::at(deadline), predicate)
    }

    fn wait_for_until(
        &self,
        guard: &mut LockProxyGuard<'_>,
        deadline: Deadline,
        mut predicate: impl FnMut() -> Result<bool, CallError>,
    ) -> Answer<bool> {
        loop {
            let holds = predicate()?;
            if holds || deadline.has_passed() {
                return Ok(holds);
            }
            self.wait_until(guard, deadline)?;
        }
    }

    fn wait_until(&self, guard: &mut LockProxyGuard<'_>, deadline: Deadline) -> Answer<bool> {
        if guard.handle().client().server() != self.handle.client().server() {
            let why = "the lock is in another server than the condition";
            return Err(CallError::Refused(why.into()).into());
        }
        let op = ConditionOp::Wait {
            lock: guard.handle().object(),
            thread: thread(),
            wait: wait_until(deadline),
        };
        let answer = self.handle.ask(Op::Condition(op)).map_err(acquire_error)?;
        Ok(flag(answer)?)
    }

    /// Wakes one waiter, if there is one.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn notify_one(&self) -> Result<(), CallError> {
        self.notify_n(1)
    }

    /// Wakes up to `waiters` waiters.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn notify_n(&self, waiters: usize) -> Result<(), CallError> {
        let notify = ConditionOp::Notify {
            count: waiters as u64,
        };
        count(self.handle.ask(Op::Condition(notify))?).map(drop)
    }

    /// Wakes all waiters.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn notify_all(&self) -> Result<(), CallError> {
        self.notify_n(usize::MAX)
    }
}
