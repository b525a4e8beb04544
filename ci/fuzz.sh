#!/usr/bin/env bash
# The decoders against random and damaged input, for FUZZ_SECONDS (10) per target.
# These are ordinary tests named fuzz_*, so they need no nightly compiler; in a plain
# `cargo test` they run for a moment only. Unoptimised: fewer tries, but overflow checks and debug
# assertions are on.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_SECONDS=${FUZZ_SECONDS:-10}

packages=()
for file in crates/*/tests/fuzz_*.rs tests/fuzz_*.rs; do
    [ -e "$file" ] || continue
    dir=${file%/*}
    case $dir in
        tests) name=multiproc-tests ;;
        *) dir=${dir%/tests} name=${dir##*/} ;;
    esac
    packages+=(--package "$name")
done
if [ ${#packages[@]} -eq 0 ]; then
    echo "fuzz: there is no test named fuzz_*"
    exit 1
fi
cargo test --locked "${packages[@]}" --test 'fuzz_*'
