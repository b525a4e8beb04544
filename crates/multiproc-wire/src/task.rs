//! Functions that travel.
//!
//! `f: fn(A) -> R` is a function item, or a closure that captures nothing: both are an address in
//! the main program, and nothing else. Every process of the program has the same code at the same
//! offset from its load base, so the offset is what travels, with a second one: that of a
//! *descriptor*, a constant the compiler makes for each pair `<A, R>`, which knows how to decode an
//! `A`, call, and encode the `R`.
//!
//! A third word, the *seal*, hashes both offsets, the function's type and the program's build id.
//! Words that were damaged on the way, or made by another build, do not match it and are refused
//! before anything is called. It is no secret: whoever can run code in one process of the program
//! can make words that pass. So accept functions only from where you would accept code.
//!
//! The addresses are not identities: a linker may fold two equal functions into one.
//!
//! ```
//! use multiproc_wire::{Parcel, codec, task::TaskRef};
//!
//! let words = TaskRef::of(|(a, b): (u32, u32)| a + b)?.to_words();
//!
//! // In another process of the same program:
//! let task = TaskRef::from_words(words).resolve()?;
//! let argument = codec::encode(&(2u32, 3u32))?;
//! let mut reply = Parcel::default();
//! task.run(&argument.bytes, &argument.attachments, &mut reply)?;
//! assert_eq!(codec::decode::<u32>(&reply.bytes, &reply.attachments)?, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A closure that captures is a type error, already in `cargo check`:
//!
//! ```compile_fail,E0308
//! let captured = 3u32;
//! multiproc_wire::task::TaskRef::of(|n: u32| n + captured);
//! ```

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

use multiproc_sys::image::{self, Image};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{DecodeError, FunctionError, RunError};
use crate::parcel::{Attachment, Parcel};

/// Marks a descriptor in memory, so that a wrong offset is found before a type is read there.
const MAGIC: u64 = 0x6d70_7461_736b_9c01;

/// What a process keeps between the functions it runs: made by [`TaskRef::of_state`], lent to those
/// of [`TaskRef::of_with`], and of no interest to all others.
pub type State = Box<dyn Any>;

/// Runs the function at an address on an encoded argument. The address must be that of a function of
/// the descriptor's type.
type Call = unsafe fn(usize, &mut State, &[u8], &[Attachment], &mut Parcel) -> Result<(), RunError>;

/// All that is known of a function's type once the type is gone. One lies among the program's
/// constants for each type of function that is sent anywhere.
#[repr(C)]
struct Descriptor {
    magic: u64,
    types: TypeId,
    call: Call,
    name: fn() -> &'static str,
}

/// A function of this program, as words that mean the same in every process of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskRef {
    /// Offset of the [`Descriptor`] from the program's load base.
    descriptor: u64,
    /// Offset of the function.
    function: u64,
    /// [`seal`] of both and of the function's type.
    seal: u64,
}

impl TaskRef {
    /// The words for `f`.
    ///
    /// # Errors
    ///
    /// [`FunctionError::SharedObject`] if `f` lives in a shared object, or if this library itself
    /// was linked into one.
    pub fn of<A, R>(f: fn(A) -> R) -> Result<TaskRef, FunctionError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let descriptor = const { &Unary::<A, R>::DESCRIPTOR };
        TaskRef::made_of(descriptor, f as *const ())
    }

    /// The words for a function that takes nothing; its argument is an encoded `()`.
    ///
    /// # Errors
    ///
    /// As [`TaskRef::of`].
    pub fn of_call<R>(f: fn() -> R) -> Result<TaskRef, FunctionError>
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        let descriptor = const { &Nullary::<R>::DESCRIPTOR };
        TaskRef::made_of(descriptor, f as *const ())
    }

    /// The words for a function that is lent the state of the process that runs it.
    ///
    /// # Errors
    ///
    /// As [`TaskRef::of`].
    pub fn of_with<S, A, R>(f: fn(&mut S, A) -> R) -> Result<TaskRef, FunctionError>
    where
        S: 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let descriptor = const { &With::<S, A, R>::DESCRIPTOR };
        TaskRef::made_of(descriptor, f as *const ())
    }

    /// The words for a function whose result becomes the state of the process that runs it. It
    /// stays there, so it need not be a serde value.
    ///
    /// # Errors
    ///
    /// As [`TaskRef::of`].
    pub fn of_state<A, S>(f: fn(A) -> S) -> Result<TaskRef, FunctionError>
    where
        A: DeserializeOwned + 'static,
        S: 'static,
    {
        let descriptor = const { &Maker::<A, S>::DESCRIPTOR };
        TaskRef::made_of(descriptor, f as *const ())
    }

    /// As [`TaskRef::of_state`], for a function that may fail.
    ///
    /// # Errors
    ///
    /// As [`TaskRef::of`].
    pub fn of_try_state<A, S, E>(f: fn(A) -> Result<S, E>) -> Result<TaskRef, FunctionError>
    where
        A: DeserializeOwned + 'static,
        S: 'static,
        E: fmt::Display + 'static,
    {
        let descriptor = const { &TryMaker::<A, S, E>::DESCRIPTOR };
        TaskRef::made_of(descriptor, f as *const ())
    }

    fn made_of(
        descriptor: &'static Descriptor,
        function: *const (),
    ) -> Result<TaskRef, FunctionError> {
        let image = image::main();
        let function = function.expose_provenance();
        if !image.code_contains(function) {
            return Err(match image::object_name_of(function) {
                Some(name) => FunctionError::SharedObject { name },
                None => FunctionError::NotAFunction,
            });
        }
        let types = descriptor.types;
        let descriptor = std::ptr::from_ref(descriptor).expose_provenance();
        if !image.contains(descriptor) {
            let name = image::object_name_of(descriptor);
            let name = name.unwrap_or_else(|| "an object without a name".into());
            return Err(FunctionError::SharedObject { name });
        }
        if !image.read_only_contains(descriptor, size_of::<Descriptor>()) {
            return Err(FunctionError::NotSealed);
        }
        let offset = |address: usize| address.wrapping_sub(image.base()) as u64;
        let (descriptor, function) = (offset(descriptor), offset(function));
        let seal = seal(image, descriptor, function, types);
        Ok(TaskRef {
            descriptor,
            function,
            seal,
        })
    }

    /// The function in this process, if the words name one. Any words may be asked.
    ///
    /// # Errors
    ///
    /// [`FunctionError::WrongProgram`] or [`FunctionError::NotAFunction`] if they do not.
    pub fn resolve(self) -> Result<Task, FunctionError> {
        let image = image::main();
        let address = |offset: u64| image.base().wrapping_add(offset as usize);
        let function = address(self.function);
        if !image.code_contains(function) {
            return Err(FunctionError::NotAFunction);
        }
        let descriptor = descriptor_at(image, address(self.descriptor))
            .filter(|found| seal(image, self.descriptor, self.function, found.types) == self.seal)
            .ok_or(FunctionError::WrongProgram)?;
        Ok(Task {
            descriptor,
            function,
        })
    }

    /// The words themselves, for a form of one's own.
    pub fn to_words(self) -> [u64; 3] {
        [self.descriptor, self.function, self.seal]
    }

    /// The counterpart of [`TaskRef::to_words`].
    pub fn from_words([descriptor, function, seal]: [u64; 3]) -> TaskRef {
        TaskRef {
            descriptor,
            function,
            seal,
        }
    }
}

/// What ties the words of a [`TaskRef`] to each other and to the build. The same in every process of
/// one program, since the hasher's keys are fixed and its code is the program's own.
fn seal(image: &Image, descriptor: u64, function: u64, types: TypeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (MAGIC, descriptor, function, types, image.build_id()).hash(&mut hasher);
    hasher.finish()
}

/// The descriptor at `address`, if there is one.
fn descriptor_at(image: &Image, address: usize) -> Option<&'static Descriptor> {
    let aligned = address.is_multiple_of(align_of::<Descriptor>());
    if !aligned || !image.read_only_contains(address, size_of::<Descriptor>()) {
        return None;
    }
    let descriptor = std::ptr::with_exposed_provenance::<Descriptor>(address);
    // SAFETY: the field lies within the range just checked, which is mapped and readable for as long
    // as the process lives, and is aligned because the struct is. Nobody writes there, and a `u64`
    // may have any value. Only the field is borrowed, since the rest may be no descriptor.
    let magic = unsafe { (&raw const (*descriptor).magic).read() };
    if magic != MAGIC {
        return None;
    }
    // SAFETY: as above; both fields are read as numbers.
    let pointers = unsafe {
        [
            (&raw const (*descriptor).call).cast::<usize>().read(),
            (&raw const (*descriptor).name).cast::<usize>().read(),
        ]
    };
    if !pointers.iter().all(|&pointer| image.code_contains(pointer)) {
        return None;
    }
    // SAFETY: aligned and readable for its whole size, never written and never unmapped (above), so
    // it may be borrowed for ever. Each field is valid: any `u64` is, a `TypeId` is plain data
    // without invalid values, and the two function pointers are not null. That they are what they
    // should be, not just code, is for the seal to say before they are used.
    Some(unsafe { &*descriptor })
}

/// A function of this process, ready to be run.
#[derive(Clone, Copy)]
pub struct Task {
    descriptor: &'static Descriptor,
    /// The address of a function of the descriptor's type.
    function: usize,
}

impl Task {
    /// Decodes the argument, calls the function, and appends its encoded result to `reply`.
    ///
    /// # Errors
    ///
    /// [`RunError::Decode`] if the argument is none, before the call; [`RunError::Encode`] if the
    /// result cannot travel. `reply` is then as it was before.
    ///
    /// # Panics
    ///
    /// If the function does, or the serde code of its types: panics unwind through this call.
    pub fn run(
        &self,
        argument: &[u8],
        attachments: &[Attachment],
        reply: &mut Parcel,
    ) -> Result<(), RunError> {
        let mut state: State = Box::new(());
        self.run_with(&mut state, argument, attachments, reply)
    }

    /// As [`Task::run`], in a process with `state`.
    ///
    /// # Errors
    ///
    /// As [`Task::run`]; [`RunError::Decode`] also if the function is to be lent a state of another
    /// type, and [`RunError::Failed`] if it was to make one and gave an error instead.
    ///
    /// # Panics
    ///
    /// As [`Task::run`]. The state is then as the function left it.
    pub fn run_with(
        &self,
        state: &mut State,
        argument: &[u8],
        attachments: &[Attachment],
        reply: &mut Parcel,
    ) -> Result<(), RunError> {
        // SAFETY: `call` asks that the address be that of a function of the descriptor's type. The
        // address was made from one, in `TaskRef::made_of`, in a process of this program: the seal
        // covers the address, the descriptor and its type, and matched in `TaskRef::resolve`.
        unsafe { (self.descriptor.call)(self.function, state, argument, attachments, reply) }
    }

    /// The Rust type of the function, such as `fn(u32) -> u64`, for messages.
    pub fn name(&self) -> &'static str {
        (self.descriptor.name)()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.name()).finish()
    }
}

/// Carries the descriptor for `fn(A) -> R`.
struct Unary<A, R>(PhantomData<fn(A) -> R>);

impl<A: DeserializeOwned + 'static, R: Serialize + DeserializeOwned + 'static> Unary<A, R> {
    const DESCRIPTOR: Descriptor = Descriptor {
        magic: MAGIC,
        types: TypeId::of::<fn(A) -> R>(),
        call: Self::call,
        name: type_name::<fn(A) -> R>,
    };

    /// # Safety
    ///
    /// `function` must be the address of a `fn(A) -> R`.
    unsafe fn call(
        function: usize,
        _: &mut State,
        argument: &[u8],
        attachments: &[Attachment],
        reply: &mut Parcel,
    ) -> Result<(), RunError> {
        let function = std::ptr::with_exposed_provenance::<()>(function);
        // SAFETY: the caller says that the address is that of a `fn(A) -> R`, which is never null,
        // and a function pointer is as wide as a data pointer on every platform with processes.
        let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(function) };
        let argument = codec::decode(argument, attachments)?;
        Ok(codec::encode_checked_into(&function(argument), reply)?)
    }
}

/// Carries the descriptor for `fn() -> R`.
struct Nullary<R>(PhantomData<fn() -> R>);

impl<R: Serialize + DeserializeOwned + 'static> Nullary<R> {
    const DESCRIPTOR: Descriptor = Descriptor {
        magic: MAGIC,
        types: TypeId::of::<fn() -> R>(),
        call: Self::call,
        name: type_name::<fn() -> R>,
    };

    /// # Safety
    ///
    /// `function` must be the address of a `fn() -> R`.
    unsafe fn call(
        function: usize,
        _: &mut State,
        argument: &[u8],
        attachments: &[Attachment],
        reply: &mut Parcel,
    ) -> Result<(), RunError> {
        let function = std::ptr::with_exposed_provenance::<()>(function);
        // SAFETY: as in `Unary::call`, for a `fn() -> R`.
        let function = unsafe { std::mem::transmute::<*const (), fn() -> R>(function) };
        codec::decode::<()>(argument, attachments)?;
        Ok(codec::encode_checked_into(&function(), reply)?)
    }
}

/// Carries the descriptor for `fn(&mut S, A) -> R`.
struct With<S, A, R>(PhantomData<fn(S) -> (A, R)>);

impl<S: 'static, A: DeserializeOwned + 'static, R: Serialize + DeserializeOwned + 'static>
    With<S, A, R>
{
    const DESCRIPTOR: Descriptor = Descriptor {
        magic: MAGIC,
        types: TypeId::of::<fn(&mut S, A) -> R>(),
        call: Self::call,
        name: type_name::<fn(&mut S, A) -> R>,
    };

    /// # Safety
    ///
    /// `function` must be the address of a `fn(&mut S, A) -> R`.
    unsafe fn call(
        function: usize,
        state: &mut State,
        argument: &[u8],
        attachments: &[Attachment],
        reply: &mut Parcel,
    ) -> Result<(), RunError> {
        let function = std::ptr::with_exposed_provenance::<()>(function);
        // SAFETY: as in `Unary::call`, for a `fn(&mut S, A) -> R`.
        let function = unsafe { std::mem::transmute::<*const (), fn(&mut S, A) -> R>(function) };
        let argument = codec::decode(argument, attachments)?;
        let state = state.downcast_mut::<S>().ok_or_else(|| {
            DecodeError::new(
                type_name::<S>(),
                "the state of this process is of another type",
            )
        })?;
        Ok(codec::encode_checked_into(
            &function(state, argument),
            reply,
        )?)
    }
}

/// Carries the descriptor for `fn(A) -> S`.
struct Maker<A, S>(PhantomData<fn(A) -> (S,)>);

impl<A: DeserializeOwned + 'static, S: 'static> Maker<A, S> {
    const DESCRIPTOR: Descriptor = Descriptor {
        magic: MAGIC,
        types: TypeId::of::<fn(A) -> S>(),
        call: Self::call,
        name: type_name::<fn(A) -> S>,
    };

    /// # Safety
    ///
    /// `function` must be the address of a `fn(A) -> S`.
    unsafe fn call(
        function: usize,
        state: &mut State,
        argument: &[u8],
        attachments: &[Attachment],
        _: &mut Parcel,
    ) -> Result<(), RunError> {
        let function = std::ptr::with_exposed_provenance::<()>(function);
        // SAFETY: as in `Unary::call`, for a `fn(A) -> S`.
        let function = unsafe { std::mem::transmute::<*const (), fn(A) -> S>(function) };
        *state = Box::new(function(codec::decode(argument, attachments)?));
        Ok(())
    }
}

/// Carries the descriptor for `fn(A) -> Result<S, E>`.
struct TryMaker<A, S, E>(PhantomData<fn(A) -> (S, E)>);

impl<A: DeserializeOwned + 'static, S: 'static, E: fmt::Display + 'static> TryMaker<A, S, E> {
    const DESCRIPTOR: Descriptor = Descriptor {
        magic: MAGIC,
        types: TypeId::of::<fn(A) -> Result<S, E>>(),
        call: Self::call,
        name: type_name::<fn(A) -> Result<S, E>>,
    };

    /// # Safety
    ///
    /// `function` must be the address of a `fn(A) -> Result<S, E>`.
    unsafe fn call(
        function: usize,
        state: &mut State,
        argument: &[u8],
        attachments: &[Attachment],
        _: &mut Parcel,
    ) -> Result<(), RunError> {
        let function = std::ptr::with_exposed_provenance::<()>(function);
        // SAFETY: as in `Unary::call`, for a `fn(A) -> Result<S, E>`.
        let function = unsafe { std::mem::transmute::<*const (), fn(A) -> Result<S, E>>(function) };
        match function(codec::decode(argument, attachments)?) {
            Ok(made) => *state = Box::new(made),
            Err(error) => return Err(RunError::Failed(format!("{error:#}"))),
        }
        Ok(())
    }
}
