#!/usr/bin/env bash
# Figures of whole processes, on servers started for the occasion:
#   benches/figures.sh postgres   a run into PostgreSQL beside psql's \copy of the same rows   (ROWS, ROUNDS)
#   benches/figures.sh idle       a run with nothing new                                       (ROWS, ROUNDS)
#   benches/figures.sh memory     the most memory that a run has, of ROWS and of ten times as many
#   benches/figures.sh changes    changes a second: of a short log, and of one of more than 1 GiB
#   benches/figures.sh hubspot    a run of COMPANIES companies of PROPERTIES properties
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

scripts/cargo.sh build --release --workspace --bins
target=${CARGO_TARGET_DIR:-target}/release
exec python3 benches/figures.py "$1" "$(realpath "$target")"
