#!/usr/bin/env bash
# The shared words under a model checker: every schedule of a few threads, up to two
# preemptions (CHAOS=n: three), one of which may stop for ever at any step.
set -euo pipefail
cd "$(dirname "$0")/.."
# A folder of its own, as the flag would make cargo build everything anew.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/model
RUSTFLAGS="--cfg multiproc_model" \
    cargo test --release --locked --package multiproc-model --lib -- --nocapture
