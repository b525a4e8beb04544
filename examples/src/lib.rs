//! The programs beside this file are the content of this package:
//! `cargo run --release --example NAME`.
