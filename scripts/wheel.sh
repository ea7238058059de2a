#!/usr/bin/env bash
# Builds the wheel: the command, and a Python package that drives it. Prints its path.
#   scripts/wheel.sh            as it is released: optimised across crates (profile `dist`)
#   PROFILE=release scripts/wheel.sh   as the tests build: what was compiled for them is used again
# DuckDB is the official shared library that setup.sh fetches, brought along beside the binary; where there is none, or with
# BUNDLED=1, it is compiled in.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

PROFILE=${PROFILE:-dist}
FOLDER=$TOOLS/wheel
OUT=target/wheels
DATA=target/wheel-data

# maturin and auditwheel, by their checksums, in an environment of their own.
environment "$FOLDER" scripts/wheel.txt

rm -rf "$OUT" "$DATA"
mkdir -p "$OUT" "$DATA"
features=(--features spark,otel)
if [ -z "${BUNDLED:-}" ] && [ -f "$DUCKDB_FOLDER/libduckdb.so" ]; then
    features=(--no-default-features --features connectorx,spark,otel)
    export DUCKDB_LIB_DIR=$DUCKDB_FOLDER
    # Where an installer puts the two: bin/acequia and lib/acequia/libduckdb.so, below one folder.
    # shellcheck disable=SC2016
    export ACEQUIA_RPATH='$ORIGIN/../lib/acequia'
    mkdir -p "$DATA/data/lib/acequia"
    cp "$DUCKDB_FOLDER/libduckdb.so" "$DATA/data/lib/acequia/"
    cp "$DUCKDB_FOLDER/LICENSE" "$DATA/data/lib/acequia/LICENSE-DuckDB"
fi
[ "$PROFILE" != release ] || features+=("${LIGHTLY[@]}")
"$FOLDER/bin/maturin" build --quiet --profile "$PROFILE" --locked "${features[@]}" --out "$OUT" >&2
wheel=$(ls "$OUT"/*.whl)

# Which systems it runs on is what its symbols need, as auditwheel finds: a tag by hand would promise what does not start.
if [ "$(uname -s)" = Linux ]; then
    tag=$(LD_LIBRARY_PATH=$DUCKDB_FOLDER "$FOLDER/bin/python" scripts/wheel_tag.py "$wheel")
    "$FOLDER/bin/python" -m wheel tags --remove --platform-tag "$tag" "$wheel" >/dev/null
    wheel=$(ls "$OUT"/*.whl)
fi
printf '%s\n' "$wheel"
