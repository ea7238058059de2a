#!/usr/bin/env bash
# acequia beside DuckDB's own postgres extension: the same ventas from the same server into a new DuckDB file, in turns. The
# extension leaves no landing area. Prints medians and ratios.
#   ROWS=5000000 ROUNDS=5 benches/against_duckdb.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

rows=${ROWS:-5000000}
python=$TOOLS/python-duckdb-1.5.5
if ! "$python/bin/python" -c "import duckdb, duckdb_extension_postgres_scanner" 2>/dev/null; then
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet duckdb==1.5.5 duckdb-extension-postgres-scanner==1.5.5
fi
scripts/cargo.sh build --release --workspace --bins
target=${CARGO_TARGET_DIR:-target}/release

# The server ends with this script, when its standard input does.
coproc testkit { exec "$target/testkit" serve --ventas "$rows" --participantes 1 --actividades 1; }
url=
while [ -z "$url" ] && read -r line <&"${testkit[0]}"; do
    case $line in postgres*://*) url=$line ;; esac
done
[ -n "$url" ] || { echo "the server did not start" >&2; exit 1; }
"$python/bin/python" benches/against_duckdb.py "$target/acequia" "${url%% *}" "${ROUNDS:-5}"
