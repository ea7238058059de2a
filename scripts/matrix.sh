#!/usr/bin/env bash
# Runs the tests against PostgreSQL 14 to 18: all of them, or those that cargo's filter names.
#   scripts/matrix.sh [CARGO TEST ARGUMENTS…]
#   VERSIONS="14 18" scripts/matrix.sh --test it -- incremental
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

scripts/setup.sh --matrix
failed=()
for major in ${VERSIONS:-14 15 16 17 18}; do
    printf '\nPostgreSQL %s\n' "$major"
    TESTKIT_POSTGRES="$TOOLS/postgresql-$major/bin" scripts/cargo.sh test --release --workspace "$@" || failed+=("$major")
done
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'matrix: tests failed against PostgreSQL %s\n' "${failed[*]}" >&2
    exit 1
fi
