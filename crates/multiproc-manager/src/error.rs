//! What can go wrong with a call, and the one rule for proxies of things that exist without a
//! manager, too.
//!
//! The rule: where the process version of an object has an error type for a verb, the proxy's verb
//! has that very type inside [`ProxyError::Object`], for the same reasons. What can only happen
//! because a server is involved is [`ProxyError::Call`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use multiproc_pipe::ConnectError;
use multiproc_process::{PanicReport, StartError};
use multiproc_wire::{DecodeError, EncodeError, FunctionError};

use crate::message::Failure;

/// Why a call of a proxy has no result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The server has ended, or the connection to it. Whether the call was carried out is not known;
    /// it is never sent twice.
    ServerGone,
    /// The function that travelled to the object panicked there.
    Panicked {
        /// What the panic said.
        message: String,
        /// File, line and column, where known.
        location: Option<String>,
        /// The stack, if `RUST_BACKTRACE` asked for it.
        backtrace: Option<String>,
    },
    /// A function panicked in this object earlier and may have left it half changed.
    Poisoned,
    /// The server has no such object.
    NotFound,
    /// An argument cannot be sent, or the result of the function cannot.
    Encode(String),
    /// A value cannot be read.
    Decode(String),
    /// The server does not do that, for the reason in the text.
    Refused(String),
    /// The function comes from another build of the program than the server's.
    Build,
    /// What came back is no answer to what was asked.
    Protocol(String),
}

impl CallError {
    /// Whether the server or the connection has ended.
    pub fn is_server_gone(&self) -> bool {
        matches!(self, CallError::ServerGone)
    }

    /// Whether a function panicked in the server.
    pub fn is_panicked(&self) -> bool {
        matches!(self, CallError::Panicked { .. })
    }

    /// Whether an earlier function panicked in the object.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, CallError::Poisoned)
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, CallError::NotFound)
    }

    /// Whether something could not be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self, CallError::Encode(_))
    }

    /// Whether something could not be decoded.
    pub fn is_decode(&self) -> bool {
        matches!(self, CallError::Decode(_))
    }

    /// Whether the server does not do that.
    pub fn is_refused(&self) -> bool {
        matches!(self, CallError::Refused(_))
    }

    /// Whether the function was of another build.
    pub fn is_build(&self) -> bool {
        matches!(self, CallError::Build)
    }

    /// Whether the two sides did not understand each other.
    pub fn is_protocol(&self) -> bool {
        matches!(self, CallError::Protocol(_))
    }

    pub(crate) fn unexpected(answer: &impl fmt::Debug) -> CallError {
        CallError::Protocol(format!("the server answered {answer:?}"))
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> CallError {
        match failure {
            Failure::NotFound => CallError::NotFound,
            Failure::WrongKind => CallError::Refused("the object has no such operation".into()),
            Failure::Refused(why) => CallError::Refused(why),
            Failure::Build => CallError::Build,
            Failure::Panicked(PanicReport {
                message,
                location,
                backtrace,
            }) => CallError::Panicked {
                message,
                location,
                backtrace,
            },
            Failure::Poisoned => CallError::Poisoned,
            Failure::Decode(text) => CallError::Decode(text),
            Failure::Encode(text) => CallError::Encode(text),
            Failure::TooLarge { size, limit } => CallError::Refused(format!(
                "the answer has {size} bytes, and a message may have {limit}"
            )),
            Failure::OutOfRange { len } => {
                CallError::Refused(format!("there are only {len} items"))
            }
            other => CallError::unexpected(&other),
        }
    }
}

impl From<EncodeError> for CallError {
    fn from(error: EncodeError) -> CallError {
        CallError::Encode(error.to_string())
    }
}

impl From<DecodeError> for CallError {
    fn from(error: DecodeError) -> CallError {
        CallError::Decode(error.to_string())
    }
}

impl From<FunctionError> for CallError {
    fn from(error: FunctionError) -> CallError {
        CallError::Encode(error.to_string())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::ServerGone => f.write_str(
                "the manager's server has ended; whether the call was carried out is not known",
            ),
            CallError::Panicked {
                message, location, ..
            } => {
                let at = location.as_deref().unwrap_or("an unknown place");
                write!(f, "the function panicked in the server, at {at}: {message}")
            }
            CallError::Poisoned => f.write_str(
                "a function panicked in this object earlier and may have left it half changed",
            ),
            CallError::NotFound => f.write_str("the server has no such object"),
            CallError::Encode(text) | CallError::Decode(text) => f.write_str(text),
            CallError::Refused(why) => write!(f, "the server refused: {why}"),
            CallError::Build => f.write_str(
                "the function comes from another build of the program than the server's",
            ),
            CallError::Protocol(what) => {
                write!(f, "client and server did not understand each other: {what}")
            }
        }
    }
}

impl Error for CallError {}

/// Why a verb failed that the process version of the object has, too. `E` is the error of that
/// version; `G` is what was given and comes back.
#[derive(Clone)]
#[non_exhaustive]
pub enum ProxyError<E, G = ()> {
    /// The object itself says no, for the reasons it has without a manager.
    Object(E),
    /// The call did not come through.
    Call(CallError, G),
}

impl<E, G> ProxyError<E, G> {
    /// The object's own error.
    pub fn object(&self) -> Option<&E> {
        match self {
            ProxyError::Object(error) => Some(error),
            ProxyError::Call(..) => None,
        }
    }

    /// What happened to the call.
    pub fn call(&self) -> Option<&CallError> {
        match self {
            ProxyError::Object(_) => None,
            ProxyError::Call(error, _) => Some(error),
        }
    }

    /// Whether the server or the connection has ended.
    pub fn is_server_gone(&self) -> bool {
        self.call().is_some_and(CallError::is_server_gone)
    }
}

impl<E> From<CallError> for ProxyError<E> {
    fn from(error: CallError) -> ProxyError<E> {
        ProxyError::Call(error, ())
    }
}

// No bound on `G`: it may be anything.
impl<E: fmt::Debug, G> fmt::Debug for ProxyError<E, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::Object(error) => error.fmt(f),
            ProxyError::Call(error, _) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display, G> fmt::Display for ProxyError<E, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::Object(error) => error.fmt(f),
            ProxyError::Call(error, _) => error.fmt(f),
        }
    }
}

impl<E: Error, G> Error for ProxyError<E, G> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ProxyError::Object(error) => error.source(),
            ProxyError::Call(error, _) => error.source(),
        }
    }
}

/// Why there is no manager.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ManagerError {
    /// The server's process did not start, or ended before it served.
    Start(Arc<dyn Error + Send + Sync>),
    /// The server could not listen, for the reason in the text.
    Listen(String),
    /// The connection was not made.
    Connect(ConnectError),
}

impl ManagerError {
    /// Whether the key was wrong.
    pub fn is_authentication_failed(&self) -> bool {
        matches!(self, ManagerError::Connect(error) if error.is_authentication_failed())
    }

    /// Whether the server could not listen.
    pub fn is_listen(&self) -> bool {
        matches!(self, ManagerError::Listen(_))
    }
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManagerError::Start(error) => write!(f, "the server's process did not start: {error}"),
            ManagerError::Listen(why) => write!(f, "the server cannot listen: {why}"),
            ManagerError::Connect(error) => error.fmt(f),
        }
    }
}

impl Error for ManagerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ManagerError::Start(error) => Some(&**error),
            ManagerError::Listen(_) => None,
            ManagerError::Connect(error) => Some(error),
        }
    }
}

impl From<ConnectError> for ManagerError {
    fn from(error: ConnectError) -> ManagerError {
        ManagerError::Connect(error)
    }
}

impl From<StartError> for ManagerError {
    fn from(error: StartError) -> ManagerError {
        ManagerError::Start(Arc::new(error))
    }
}
