//! The errors of this crate: small, and such that they can travel themselves.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A value could not be made into a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodeError(Refusal);

/// A parcel could not be made into a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeError(Refusal);

/// Text only, because what caused it stays behind in its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Refusal {
    type_name: Box<str>,
    reason: Box<str>,
}

impl Refusal {
    fn new(type_name: &str, reason: impl fmt::Display) -> Refusal {
        Refusal {
            type_name: type_name.into(),
            reason: reason.to_string().into(),
        }
    }
}

impl EncodeError {
    /// The value of type `type_name` was refused for `reason`.
    pub fn new(type_name: &str, reason: impl fmt::Display) -> EncodeError {
        EncodeError(Refusal::new(type_name, reason))
    }

    /// The Rust type of the value.
    pub fn type_name(&self) -> &str {
        &self.0.type_name
    }

    /// What was wrong, without the type.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl DecodeError {
    /// No value of type `type_name` could be had, for `reason`.
    pub fn new(type_name: &str, reason: impl fmt::Display) -> DecodeError {
        DecodeError(Refusal::new(type_name, reason))
    }

    /// The Rust type that was wanted.
    pub fn type_name(&self) -> &str {
        &self.0.type_name
    }

    /// What was wrong, without the type.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { type_name, reason } = &self.0;
        write!(f, "cannot encode `{type_name}`: {reason}")
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { type_name, reason } = &self.0;
        write!(f, "cannot decode `{type_name}`: {reason}")
    }
}

impl Error for EncodeError {}
impl Error for DecodeError {}

/// A handle was asked to become bytes, or to come back from them, where it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTravelling {
    /// No value is being encoded or decoded by this library on this thread: another format, or a
    /// file, was to hold the handle.
    OutsideChannel,
    /// The bytes name an attachment that did not come with them.
    NoSuchAttachment,
    /// More handles in one parcel than an index can count.
    TooMany,
}

impl NotTravelling {
    /// Whether the handle was used outside multiproc's own channels.
    pub fn is_outside_channel(&self) -> bool {
        matches!(self, NotTravelling::OutsideChannel)
    }
}

impl fmt::Display for NotTravelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotTravelling::OutsideChannel => {
                "a handle of multiproc travels only through multiproc's own channels \
                 (arguments and results of processes and tasks, queues, pipes), not through other \
                 formats or files"
            }
            NotTravelling::NoSuchAttachment => {
                "the bytes name a handle that did not come with them"
            }
            NotTravelling::TooMany => "more handles than one value can carry",
        })
    }
}

impl Error for NotTravelling {}

/// A function cannot run in another process, or is not to be had in this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FunctionError {
    /// The function, or the code that would call it, lives in a shared object. Only what lives in
    /// the main program lies at the same offset in every process.
    SharedObject {
        /// The file name of the object, as the loader knows it.
        name: String,
    },
    /// The words were made by another program, or by another build of this one, or were damaged.
    WrongProgram,
    /// What was named as a function is not in the program's machine code.
    NotAFunction,
    /// The program keeps its constants in writable memory, so a travelling function could not be
    /// checked before it is called.
    NotSealed,
}

impl FunctionError {
    /// Whether the function was refused because it lives in a shared object.
    pub fn is_shared_object(&self) -> bool {
        matches!(self, FunctionError::SharedObject { .. })
    }

    /// Whether the function came from another program or build.
    pub fn is_wrong_program(&self) -> bool {
        matches!(self, FunctionError::WrongProgram)
    }

    /// Whether what was named is no code of the program.
    pub fn is_not_a_function(&self) -> bool {
        matches!(self, FunctionError::NotAFunction)
    }

    /// Whether the program was linked without RELRO.
    pub fn is_not_sealed(&self) -> bool {
        matches!(self, FunctionError::NotSealed)
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FunctionError::SharedObject { name } => write!(
                f,
                "the function lives in the shared object `{name}`; only functions of the main \
                 program can run in another process"
            ),
            FunctionError::WrongProgram => {
                f.write_str("the function comes from another program, or another build of this one")
            }
            FunctionError::NotAFunction => {
                f.write_str("what was named as a function is not in the program's machine code")
            }
            FunctionError::NotSealed => f.write_str(
                "the program keeps its constants in writable memory; link it with RELRO \
                 (`-C relro-level=full`, which is the default)",
            ),
        }
    }
}

impl Error for FunctionError {}

/// A task came back without a result, though nothing panicked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RunError {
    /// The argument could not be decoded; the function was not called.
    Decode(DecodeError),
    /// The function was called, and its result could not be encoded.
    Encode(EncodeError),
    /// The function was to make a state, and gave an error: its text.
    Failed(String),
}

impl RunError {
    /// Whether the argument was to blame, and the function was never called.
    pub fn is_decode(&self) -> bool {
        matches!(self, RunError::Decode(_))
    }

    /// Whether the result was to blame.
    pub fn is_encode(&self) -> bool {
        matches!(self, RunError::Encode(_))
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RunError::Decode(_) => "the task's argument did not arrive",
            RunError::Encode(_) => "the task's result cannot be sent back",
            RunError::Failed(text) => text,
        })
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RunError::Decode(error) => Some(error),
            RunError::Encode(error) => Some(error),
            RunError::Failed(_) => None,
        }
    }
}

impl From<DecodeError> for RunError {
    fn from(error: DecodeError) -> RunError {
        RunError::Decode(error)
    }
}

impl From<EncodeError> for RunError {
    fn from(error: EncodeError) -> RunError {
        RunError::Encode(error)
    }
}
