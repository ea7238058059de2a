#!/usr/bin/env bash
# Loads into the lake, beside the same loads into a DuckDB file and beside what DuckDB's own extension for Iceberg takes for them:
# a first load, a tenth of the rows changed, a thousand recent ones; then how the cost grows with loads of changes.
#   ROWS=5000000 LOADS=50 benches/lake.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh
scripts/setup.sh

scripts/cargo.sh build --release --workspace --bins
target=$(realpath "${CARGO_TARGET_DIR:-target}")/release

# The servers end with this script, when their standard input does.
coproc server { exec "$target/testkit" serve --ventas "${ROWS:-5000000}" --participantes 1 --actividades 1; }
read -r url <&"${server[0]}" || { echo "the server did not start" >&2; exit 1; }
# One coprocess at a time is all that bash promises; the lake's input is the other end of the first one's.
exec {lake}< <(exec "$target/testkit" lake <&"${server[0]}")
while read -r -u "$lake" line; do
    export "${line?}"
    case $line in LAKE_EXTENSIONS=*) break ;; esac
done
"$LAKE_FOLDER/bin/python" benches/lake.py "$target/acequia" "$url" "${ROWS:-5000000}" "${LOADS:-50}"
