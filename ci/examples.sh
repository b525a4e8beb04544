#!/usr/bin/env bash
# The examples run as a user would run them; the folder copy copies a real tree of
# 10,000 files or more, is verified, and loses a worker on the way.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
cleanup() {
    mountpoint -q "$work/small" && umount "$work/small"
    rm -rf "$work"
}
trap cleanup EXIT
bin=${CARGO_TARGET_DIR:-target}/release/examples
cargo build --release --locked --package multiproc-examples --examples

# The documentation that comes with rustup has about 50,000 files; a minimal
# installation does not have it, so the fallback is a generated tree.
source_tree() {
    local docs
    docs=$(rustc --print sysroot)/share/doc
    if [ -d "$docs" ] && [ "$(find "$docs" -type f | head -n 10000 | wc -l)" -eq 10000 ]; then
        echo "$docs"
    else
        generate "$work/source" >&2
        echo "$work/source"
    fi
}

# 100 folders of 100 files between 0 B and 16 KiB, one of 64 MiB, links, odd names.
generate() {
    local folder file
    for folder in $(seq 100); do
        mkdir -p "$1/part $folder/inner"
        for file in $(seq 100); do
            head -c $((file * file * folder % 16384)) "$bin/folder_copy" \
                >"$1/part $folder/inner/file $file"
        done
        ln -s "inner/file 1" "$1/part $folder/link"
    done
    head -c $((64 << 20)) /dev/urandom >"$1/large"
    : >"$1/empty"
    ln -s nowhere "$1/dangling"
    printf 'x' >"$1/"$'not utf-8 \xff'
    chmod 750 "$1/part 1"
    chmod 400 "$1/part 1/inner/file 2"
}

step() {
    echo "+ $*"
    "$@"
}

tree=$(source_tree)
step "$bin/folder_copy" --verify "$tree" "$work/plain"
step diff -r --no-dereference "$tree" "$work/plain"
step "$bin/folder_copy" --verify --kill-one --workers 4 "$tree" "$work/killed"
step diff -r --no-dereference "$tree" "$work/killed"
rm -rf "$work/plain" "$work/killed"

# What cannot work says so in one line, with status 1.
refused() {
    local status=0
    "$bin/folder_copy" "$@" 2>"$work/stderr" >/dev/null || status=$?
    if [ "$status" -ne 1 ] || [ "$(wc -l <"$work/stderr")" -ne 1 ]; then
        echo "folder_copy $*: status $status, expected 1 and one line:"
        cat "$work/stderr"
        exit 1
    fi
    echo "refused: $(cat "$work/stderr")"
}
mkdir -p "$work/a/b"
ln -s "$work/a/b" "$work/link"
refused "$work/missing" "$work/copy"
refused "$work/a" "$work/a/b/copy"
refused "$work/a" "$work/link/copy"

# A full destination: needs a small filesystem, and so the right to mount one.
mkdir "$work/small"
if mount -t tmpfs -o size=2m none "$work/small" 2>/dev/null; then
    head -c $((8 << 20)) /dev/urandom >"$work/a/large"
    refused "$work/a" "$work/small/copy"
    if find "$work/small" -name '*.part' | grep .; then
        echo "something temporary was left behind"
        exit 1
    fi
else
    echo "left out: a full destination (mounting is not permitted here)"
fi

step env TMPDIR="$work" "$bin/folder_copy"
step "$bin/process_from_function"
for name in process_from_type process_ids process_arguments daemon daemon_cut_short terminate \
    join_order fork_and_spawn isolation echo_server; do
    step "$bin/$name"
done
step "$bin/pool_map"
for name in queue queue_full writer_reader; do
    step "$bin/$name"
done
step "$bin/producer_consumer" --items 3
# Endless until Ctrl-C, which ends all three processes: none keeps the pipe open.
endless() {
    local status=0
    timeout -s INT 2 "$bin/producer_consumer" | cat >"$work/endless" || status=${PIPESTATUS[0]}
    if [ "$status" -ne 124 ] || ! grep -q consumed "$work/endless"; then
        echo "producer_consumer: status $status, expected 124 (Ctrl-C after 2 s)"
        exit 1
    fi
}
step endless
step "$bin/shared_memory"
step "$bin/pipe"
step "$bin/pipe_tcp"
step "$bin/lock"
step "$bin/semaphore"
step "$bin/event"
step "$bin/wait_first"
step "$bin/deadlock"
# CHAOS=n: twenty thousand kills.
step "$bin/holders" ${CHAOS:+20000}
for name in dict_list list types counter pool_queue remote object; do
    step "$bin/manager_$name"
done
for example in pool_apply pool_async pool_results pool_callback sync_async pool_tasks pool_queue \
    pool_initializer word_count; do
    step "$bin/$example"
done
