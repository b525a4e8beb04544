//! An object of any type of the user's, in the server: functions travel to it.

use multiproc_wire::Function;
use multiproc_wire::task::TaskRef;

use super::{Data, Produce, Read, Write, proxy, run};
use crate::context;
use crate::error::CallError;
use crate::handle::Handle;
use crate::host::{self, Fault, Subject};
use crate::manager::Manager;
use crate::message::{Answer, Make, Op, SERVER, ServerOp};

proxy! {
    /// An object of type `T` that lives in a manager's server.
    ///
    /// It is reached by functions: each travels to the object, runs there, and its result comes back,
    /// in one round trip. Functions that only read run side by side; one that changes the object runs
    /// alone.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// struct Account {
    ///     balance: i64,
    /// }
    ///
    /// let manager = Manager::start()?;
    /// let account = manager.object_with(|balance| Account { balance }, 100)?;
    /// account.call_mut(|account, amount| account.balance -= amount, 30)?;
    /// assert_eq!(account.call(|account, ()| account.balance, ())?, 70);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A function that panics is [`CallError::Panicked`] with its text; the server goes on. If it
    /// might have changed the object, later calls are [`CallError::Poisoned`].
    ///
    /// Functions run in the server only for programs of its own build, and on a Unix socket or where
    /// [`accept_functions`](crate::ManagerBuilder::accept_functions) says so: otherwise
    /// [`CallError::Build`] and [`CallError::Refused`].
    Remote<T>
}

impl Manager {
    /// Moves a value into the server.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn object<T: Data + Send + Sync>(&self, value: T) -> Result<Remote<T>, CallError> {
        make(self, place::<T>, &value).map(Remote::of)
    }

    /// Has a value made in the server, by a function: it need not be able to travel.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::Panicked`] if the function does.
    pub fn object_with<T, A>(&self, f: fn(A) -> T, a: A) -> Result<Remote<T>, CallError>
    where
        T: Send + Sync + 'static,
        A: Data,
    {
        make(self, produce::<T, A>, &(Function::new(f), a)).map(Remote::of)
    }
}

/// Has `driver` run in the server, which puts an object in place.
pub(super) fn make<A: Data>(
    manager: &Manager,
    driver: fn(A) -> Result<(), Fault>,
    argument: &A,
) -> Result<Handle, CallError> {
    let client = manager.client();
    let (argument, _kept) = context::pack(client.server(), argument)?;
    let task = TaskRef::of(driver)?.to_words();
    let create = ServerOp::Create(Make::User { task, argument });
    match client.ask(SERVER, Op::Server(create))? {
        Answer::Count(object) => Ok(Handle::given(client, object)),
        Answer::Value(Some(packed)) => {
            let failed: Result<(), Fault> = context::unpack(client, packed)?;
            Err(failed.err().map_or(CallError::NotFound, CallError::from))
        }
        other => Err(CallError::unexpected(&other)),
    }
}

impl<T: Send + Sync + 'static> Remote<T> {
    /// Runs `f` on the object, beside others that only read it.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn call<A: Data, R: Data>(&self, f: fn(&T, A) -> R, a: A) -> Result<R, CallError> {
        run(&self.handle, read::<T, A, R>, &(Function::new(f), a), false)
    }

    /// Runs `f` on the object, which it may change; nobody else has the object meanwhile.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn call_mut<A: Data, R: Data>(&self, f: fn(&mut T, A) -> R, a: A) -> Result<R, CallError> {
        run(&self.handle, write::<T, A, R>, &(Function::new(f), a), true)
    }
}

fn place<T: Data + Send + Sync>(value: T) -> Result<(), Fault> {
    host::place(Box::new(value))
}

fn produce<T, A>((f, a): (Produce<A, T>, A)) -> Result<(), Fault>
where
    T: Send + Sync + 'static,
    A: Data,
{
    host::place(Box::new(context::outside(|| (f.pointer())(a))))
}

pub(super) fn read<T, A, R>((f, a): (Read<T, A, R>, A)) -> Result<R, Fault>
where
    T: Send + Sync + 'static,
    A: Data,
    R: Data,
{
    host::with_subject(|subject, _| {
        let Subject::User(user) = subject else {
            return Err(Fault::Kind);
        };
        let value = user.value.read();
        let value = value.downcast_ref::<T>().ok_or(Fault::Kind)?;
        Ok((f.pointer())(value, a))
    })
}

fn write<T, A, R>((f, a): (Write<T, A, R>, A)) -> Result<R, Fault>
where
    T: Send + Sync + 'static,
    A: Data,
    R: Data,
{
    host::with_subject(|subject, _| {
        let Subject::User(user) = subject else {
            return Err(Fault::Kind);
        };
        let mut value = user.value.write();
        let value = value.downcast_mut::<T>().ok_or(Fault::Kind)?;
        Ok((f.pointer())(value, a))
    })
}
