//! Names are a contract. These programs were written from the description of the interface alone, in
//! the form in which somebody new would write them; what compiles and runs here must go on doing so.

mod manager;
mod pipe;
mod pool;
mod process;
mod python;
mod queue;
mod shm;
mod sync;

use std::time::Duration;

/// `?` works on every error of the library.
type Res = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const MS: Duration = Duration::from_millis(1);
