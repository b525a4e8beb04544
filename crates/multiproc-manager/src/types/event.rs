//! A flag to wait for, in the server.

use std::time::{Duration, Instant};

use multiproc_sys::clock::Deadline;

use super::{flag, proxy, unit, wait_until};
use crate::error::CallError;
use crate::manager::Manager;
use crate::message::{EventOp, Make, Op};

proxy! {
    /// A flag that lives in a manager's server, for threads of any process to wait for.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let ready = manager.event()?;
    /// let waiter = std::thread::spawn({
    ///     let ready = ready.clone();
    ///     move || ready.wait()
    /// });
    /// ready.set()?;
    /// waiter.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    EventProxy
}

impl Manager {
    /// A new event that is not set.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn event(&self) -> Result<EventProxy, CallError> {
        self.make(Make::Event).map(EventProxy::of)
    }
}

impl EventProxy {
    /// Sets it, and wakes all waiters.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn set(&self) -> Result<(), CallError> {
        unit(self.handle.ask(Op::Event(EventOp::Set))?)
    }

    /// Clears it.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn clear(&self) -> Result<(), CallError> {
        unit(self.handle.ask(Op::Event(EventOp::Clear))?)
    }

    /// Whether it is set.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_set(&self) -> Result<bool, CallError> {
        flag(self.handle.ask(Op::Event(EventOp::IsSet))?)
    }

    /// Waits until it is set.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait(&self) -> Result<(), CallError> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// As [`EventProxy::wait`], for at most `timeout`; whether it is set.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, CallError> {
        self.wait_until(Deadline::after(timeout))
    }

    /// As [`EventProxy::wait_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait_deadline(&self, deadline: Instant) -> Result<bool, CallError> {
        self.wait_until(Deadline::at(deadline))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<bool, CallError> {
        let wait = wait_until(deadline);
        flag(self.handle.ask(Op::Event(EventOp::Wait { wait }))?)
    }
}
