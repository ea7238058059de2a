#!/usr/bin/env bash
# A wrapper of rustc for scripts/fuzz.sh: acequia and the fuzz targets are compiled with what libFuzzer is guided by, everything
# else as it always is. The flags are those of cargo-fuzz.
set -euo pipefail

flags=()
case " $* " in
*" --crate-name acequia "* | *" src/bin/"*)
    flags=(
        -Cpasses=sancov-module
        -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
        -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares
    )
    ;;
esac
exec "$@" "${flags[@]}"
