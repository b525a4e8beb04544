#!/usr/bin/env bash
# Dependencies flow downwards only: fails on an edge that goes up or sideways.
#
#   ci/layers.sh              checks this workspace (normal, build and dev edges)
#   ci/layers.sh --self-test  checks the check, with graphs it must refuse
#
# The edges are read from `cargo metadata --no-deps`: what the manifests say, for
# every target and feature, without a lock file or a network.
set -euo pipefail
cd "$(dirname "$0")/.."

# Crates of one height do not know each other. `top` may depend on anything and
# nothing may depend on it.
height() {
    case $1 in
        multiproc-sys) echo 0 ;;
        multiproc-wire) echo 1 ;;
        multiproc-shm) echo 2 ;;
        multiproc-sync | multiproc-process) echo 3 ;;
        multiproc-queue | multiproc-pipe) echo 4 ;;
        multiproc-manager | multiproc-pool) echo 5 ;;
        multiproc) echo 6 ;;
        multiproc-examples | multiproc-tests | multiproc-bench | multiproc-model) echo top ;;
        *) echo unknown ;;
    esac
}

# The one sideways edge there is a reason for: a manager serves remote pools.
allowed_sideways() {
    [ "$1" = multiproc-manager ] && [ "$2" = multiproc-pool ]
}

# Reads lines "crate dependency", prints each bad edge, fails if there was one.
check() {
    local from to up down bad=0
    while read -r from to; do
        up=$(height "$from") down=$(height "$to")
        if [ "$up" = unknown ] || [ "$down" = unknown ]; then
            echo "layers: $from -> $to: a crate of no known height: name it in ci/layers.sh"
        elif [ "$down" = top ]; then
            echo "layers: $from -> $to: nothing may depend on $to"
        elif [ "$up" = top ] || [ "$up" -gt "$down" ]; then
            continue
        elif [ "$up" -eq "$down" ] && allowed_sideways "$from" "$to"; then
            continue
        elif [ "$up" -eq "$down" ]; then
            echo "layers: $from -> $to: sideways, both stand at height $up"
        else
            echo "layers: $from -> $to: upwards, from height $up to $down"
        fi
        bad=1
    done
    return "$bad"
}

# In `cargo metadata` a package begins with name and version, a dependency with
# name and source; that is all this needs of its JSON.
edges() {
    cargo metadata --no-deps --format-version 1 |
        grep -oE '"name":"[^"]+","(version|source)"' |
        tr -d '"' |
        while IFS=:, read -r _ name kind; do
            case $kind in
                version) crate=$name ;;
                source) case $name in multiproc | multiproc-*) echo "$crate $name" ;; esac ;;
            esac
        done
}

self_test() {
    local edge
    for edge in "multiproc-sys multiproc-wire" "multiproc-sync multiproc-process" \
        "multiproc-process multiproc-sync" "multiproc-queue multiproc-pool" \
        "multiproc-wire multiproc-wire" "multiproc-pool multiproc-manager" \
        "multiproc-pool multiproc" "multiproc multiproc-tests" "multiproc-new multiproc-sys" \
        "multiproc-queue multiproc-new"; do
        if check <<<"$edge" >/dev/null; then
            echo "layers: self-test: the bad edge $edge passed"
            return 1
        fi
        # One bad edge among good ones is enough.
        if printf '%s\n' "multiproc-wire multiproc-sys" "$edge" "multiproc-shm multiproc-sys" |
            check >/dev/null; then
            echo "layers: self-test: $edge passed among good edges"
            return 1
        fi
    done
    for edge in "multiproc-wire multiproc-sys" "multiproc-manager multiproc-pool" \
        "multiproc multiproc-sys" "multiproc-tests multiproc" "multiproc-bench multiproc-sys"; do
        if ! check <<<"$edge"; then
            echo "layers: self-test: the good edge $edge was refused"
            return 1
        fi
    done
    # If the reading of the metadata broke, no edge at all would look like a clean graph.
    if ! edges | grep -x "multiproc-wire multiproc-sys" >/dev/null; then
        echo "layers: self-test: cargo metadata was not understood"
        return 1
    fi
    echo "layers: self-test passed"
}

if [ "${1:-}" = --self-test ]; then
    self_test
else
    edges | check
    echo "layers: every dependency goes downwards ($(edges | wc -l) edges)"
fi
