#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/, or those that are named, for a minute each: libFuzzer, guided by what code each input reaches.
#   scripts/fuzz.sh [TARGET…]
#   FUZZ_SECONDS=3600 scripts/fuzz.sh hubspot_page
# It begins with fuzz/seeds, keeps what it finds of interest in fuzz/corpus, and what fails in fuzz/artifacts; a target is
# run once on such a file by
#   scripts/fuzz.sh TARGET FILE
#
# The flags are those of cargo-fuzz, without its sanitizers: these need a nightly toolchain, and there is no `unsafe` here for
# them to look into.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

if [ -f "$DUCKDB_FOLDER/libduckdb.so" ]; then
    export DUCKDB_LIB_DIR="$DUCKDB_FOLDER"
    export LD_LIBRARY_PATH="$DUCKDB_FOLDER${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
else
    printf 'fuzz: there is no libduckdb.so: run scripts/setup.sh\n' >&2
    exit 1
fi
# With a target triple, the flags are not for what runs while building.
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz"
mkdir -p "$CARGO_TARGET_DIR"
CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$host"
binaries=$CARGO_TARGET_DIR/$host/release

if [ "$#" -eq 2 ] && [ -f "$2" ]; then
    exec "$binaries/$1" "$2"
fi
targets=("$@")
if [ "$#" -eq 0 ]; then
    for source in fuzz/src/bin/*.rs; do
        targets+=("$(basename "$source" .rs)")
    done
fi
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus" fuzz/artifacts
    printf '\n%s\n' "$target"
    "$binaries/$target" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -max_len=4096 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="fuzz/artifacts/$target-" "$corpus" "fuzz/seeds/$target"
done
