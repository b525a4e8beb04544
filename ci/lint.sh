#!/usr/bin/env bash
# No warning of the compiler or of clippy, in any target of any package.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets --locked -- -D warnings
# What only a feature brings.
cargo clippy --package multiproc-manager --package multiproc-tests --all-targets --locked \
    --features multiproc-tests/tls -- -D warnings
