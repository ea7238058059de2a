#!/usr/bin/env bash
# acequia beside what else copies a table from PostgreSQL into DuckDB: DuckDB's own extension, dlt and Sling, all from PyPI. The same ventas
# from the same server into a new file, in turns. Prints medians, rows per second and ratios.
#   ROWS=5000000 ROUNDS=3 benches/peers.sh
# DEFAULT_ROWS (200000) are for dlt's default backend alone, which takes minutes for a million. ACEQUIA names another binary.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

folder=$TOOLS/peers
packages=(duckdb==1.5.5 duckdb-cli==1.5.5 duckdb-extension-postgres-scanner==1.5.5 duckdb-extension-json==1.5.5
    duckdb-extension-httpfs==1.5.5 'dlt[duckdb]==1.31.0' connectorx==0.4.6 sqlalchemy==2.0.44 psycopg2-binary==2.9.13 pyarrow
    sling-linux-amd64==1.4.11)
if [ "$(cat "$folder/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${packages[@]}"
    printf '%s\n' "${packages[*]}" >"$folder/packages"
fi
target=${CARGO_TARGET_DIR:-target}/release
acequia=${ACEQUIA:-$target/acequia}
[ -n "${ACEQUIA:-}" ] || scripts/cargo.sh build --release --workspace --bins

# The server ends with this script, when its standard input does.
serve() {
    coproc testkit { exec "$target/testkit" serve --ventas "$1" --participantes 1 --actividades 1; }
    url=
    while [ -z "$url" ] && read -r line <&"${testkit[0]}"; do
        case $line in postgres*://*) url=${line%% *} ;; esac
    done
    [ -n "$url" ] || { echo "the server did not start" >&2; exit 1; }
}
serve "${ROWS:-5000000}"
"$folder/bin/python" benches/peers.py "$acequia" "$url" "${ROUNDS:-3}"
exec {testkit[1]}>&-
wait
serve "${DEFAULT_ROWS:-200000}"
"$folder/bin/python" benches/peers.py "$acequia" "$url" 1 default
