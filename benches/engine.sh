#!/usr/bin/env bash
# Loads into the lake by way of an engine of two workers, Sail's or Spark's, and by DuckDB: a first load, then 1 % and 10 % of the keys
# changed. How long each takes, and the most memory that acequia has meanwhile, which is the driver's: it should not grow with the rows.
#   ROWS=5000000 ENGINE=sail benches/engine.sh
#   ROWS=5000000 ENGINE=spark benches/engine.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lake_servers.sh --engine "${ENGINE:-sail}"
"$LAKE_FOLDER/bin/python" benches/engine.py "$target/acequia" "$url" "${ROWS:-5000000}" "${ENGINE:-sail}"
