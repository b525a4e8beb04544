//! The questions one asks of an error without a manager, asked of the same error inside a
//! [`ProxyError`]: a call that did not come through answers no to all of them.

use multiproc_queue::{GetError, PutError};
use multiproc_sync::{AcquireError, BarrierError, ReleaseError};

use crate::error::ProxyError;

macro_rules! predicates {
    ($([$($params:tt)*] $error:ty, $given:ty: $($name:ident)+;)+) => {$(
        impl<$($params)*> ProxyError<$error, $given> {
            $(
                #[doc = concat!("As the error's own `", stringify!($name), "`.")]
                pub fn $name(&self) -> bool {
                    self.object().is_some_and(<$error>::$name)
                }
            )+
        }
    )+};
}

predicates! {
    [T] PutError<T>, T: is_full is_timed_out is_closed;
    [] GetError, (): is_empty is_timed_out is_closed;
    [] AcquireError, (): is_owner_died is_would_block is_timed_out is_busy is_deadlock is_too_many;
    [] ReleaseError, (): is_not_held is_not_owner is_above_bound;
    [] BarrierError, (): is_broken is_timed_out;
}

impl<T> ProxyError<PutError<T>, T> {
    /// The item that was not put.
    pub fn into_inner(self) -> T {
        match self {
            ProxyError::Object(error) => error.into_inner(),
            ProxyError::Call(_, item) => item,
        }
    }
}
