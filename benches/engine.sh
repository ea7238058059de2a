#!/usr/bin/env bash
# Loads into the lake by way of an engine of two workers, Sail's or Spark's, and by DuckDB: a first load, then 1 % and 10 % of the keys
# changed. How long each takes, and the most memory that acequia has meanwhile, which is the driver's: it should not grow with the rows.
#   ROWS=5000000 ENGINE=sail benches/engine.sh
#   ROWS=5000000 ENGINE=spark benches/engine.sh
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
exec {lake}< <(exec "$target/testkit" lake --engine "${ENGINE:-sail}" <&"${server[0]}")
while read -r -u "$lake" line; do
    export "${line?}"
    case $line in LAKE_EXTENSIONS=*) break ;; esac
done
"$LAKE_FOLDER/bin/python" benches/engine.py "$target/acequia" "$url" "${ROWS:-5000000}" "${ENGINE:-sail}"
