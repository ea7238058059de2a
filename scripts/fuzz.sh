#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/, or those that are named, for a minute each: libFuzzer, guided by what code each input reaches.
#   scripts/fuzz.sh [TARGET…]
#   FUZZ_SECONDS=3600 scripts/fuzz.sh hubspot_page
# It begins with fuzz/seeds, keeps what it finds of interest in fuzz/corpus, and what fails in fuzz/artifacts; a target is
# run once on such a file by
#   scripts/fuzz.sh TARGET FILE
#
# It works on the stable toolchain. There are no sanitizers: these need a nightly one, and the one `unsafe` call (`allocator.rs`)
# is not reached by what is fuzzed.
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
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
RUSTC_WRAPPER="$PWD/scripts/fuzz-rustc.sh" cargo build --release --locked --manifest-path fuzz/Cargo.toml
binaries=$CARGO_TARGET_DIR/release

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
