#!/usr/bin/env bash
# cargo, for building and testing acequia here: with crash points, and with DuckDB as the shared library that setup.sh has
# fetched. Where there is none, DuckDB is compiled into the binary, as it is in releases; BUNDLED=1 asks for that. RELEASED=1 leaves
# out what is for the tests alone.
#   scripts/cargo.sh test --release --workspace
set -euo pipefail
. "$(dirname "$0")/tools.sh"

subcommand=$1
shift
tests=failpoints,internals,spark,otel
[ -z "${RELEASED:-}" ] || tests=connectorx,spark,otel
features=(--features "$tests")
if [ -z "${BUNDLED:-}" ] && [ -f "$DUCKDB_FOLDER/libduckdb.so" ]; then
    export DUCKDB_LIB_DIR="$DUCKDB_FOLDER"
    features=(--no-default-features --features "$tests,connectorx")
fi
# Tests wait for servers, and acequia takes twice as long to compile when it is fully optimised.
optimised=()
[ "$subcommand" != test ] || optimised=("${LIGHTLY[@]}")
exec cargo "$subcommand" "${optimised[@]}" "${features[@]}" "$@"
