//! New pipes: two connected ends in the family's memory.

use multiproc_shm::CreateError;

use crate::connection::Connection;
use crate::family;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::transport::{In, Out};

/// Two connected ends.
pub type Ends<S, R> = (Connection<S, R>, Connection<R, S>);

/// Two connected ends: what one sends, the other receives.
///
/// Each end may be sent to another process, in whatever carries values: as an argument, in a queue, by
/// another pipe. A pipe takes 64 KiB of shared memory, a [`channel`] half of that, and neither a descriptor.
///
/// # Examples
///
/// ```
/// let (here, there) = multiproc_pipe::pipe::<u32, String>()?;
/// here.send(&7)?;
/// assert_eq!(there.recv()?, 7);
/// there.send(&"seven".to_string())?;
/// assert_eq!(here.recv()?, "seven");
/// drop(there);
/// assert!(here.recv().is_err_and(|error| error.is_disconnected()));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// What one end sends is what the other receives, in its type:
///
/// ```compile_fail
/// let (here, there) = multiproc_pipe::pipe::<u32, String>().unwrap();
/// there.send(&7u32).unwrap();
/// ```
///
/// # Errors
///
/// [`CreateError::NoSpace`].
///
/// # Differences from Python
///
/// An end that travels is the same end, not a copy of it, and may be held by several processes; the other
/// side sees the end of the messages once nobody holds it any more, also where they were killed. With
/// `duplex=False`, it is [`channel`].
pub fn pipe<S, R>() -> Result<Ends<S, R>, CreateError> {
    let (forth, back) = (channel::<S>()?, channel::<R>()?);
    Ok((
        Connection::of(forth.0, back.1),
        Connection::of(back.0, forth.1),
    ))
}

/// One way: what the sender sends, the receiver receives.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = multiproc_pipe::channel()?;
/// for n in 1..=3 {
///     sender.send(&n)?;
/// }
/// drop(sender);
/// assert_eq!(receiver.iter().sum::<Result<i32, _>>()?, 6);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// The wrong way does not compile:
///
/// ```compile_fail
/// let (sender, receiver) = multiproc_pipe::channel::<u32>().unwrap();
/// receiver.send(&1).unwrap();
/// ```
///
/// ```compile_fail
/// let (sender, receiver) = multiproc_pipe::channel::<u32>().unwrap();
/// sender.recv().unwrap();
/// ```
///
/// # Errors
///
/// [`CreateError::NoSpace`].
pub fn channel<T>() -> Result<(Sender<T>, Receiver<T>), CreateError> {
    let (sending, receiving) = family::direction()?;
    Ok((
        Sender::of(Out::Ring(sending)),
        Receiver::of(In::Ring(receiving)),
    ))
}
