#!/usr/bin/env bash
# Loads into the lake, beside the same loads into a DuckDB file and beside what DuckDB's own extension for Iceberg takes for them:
# a first load, a tenth of the rows changed, a thousand recent ones; then how the cost grows with loads of changes.
#   ROWS=5000000 LOADS=50 benches/lake.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lake_servers.sh
"$LAKE_FOLDER/bin/python" benches/lake.py "$target/acequia" "$url" "${ROWS:-5000000}" "${LOADS:-50}"
