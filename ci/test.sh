#!/usr/bin/env bash
# Every test and doc test of every package. Further arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace --locked --no-fail-fast "$@"
# What only a feature brings.
cargo test --package multiproc-process --locked --features tracing --test tracing "$@"
cargo test --package multiproc-tests --locked --features tls --test tls "$@"
