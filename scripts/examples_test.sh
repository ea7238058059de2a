#!/usr/bin/env bash
# Runs the examples for orchestrators under the real Airflow and Dagster, from PyPI, with the wheel in their environments, against a real
# PostgreSQL.
#   scripts/examples_test.sh [WHEEL]     builds the wheel with the tests' profile, unless it is given
# ONLY=dagster or ONLY=airflow runs one of them. Airflow is large: the first time takes minutes, and so does its run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

wheel=${1:-$(PROFILE=release scripts/wheel.sh)}
scripts/cargo.sh build --release --locked --workspace --bin testkit
TESTKIT=${CARGO_TARGET_DIR:-$PWD/target}/release/testkit
export TESTKIT
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for name in ${ONLY:-dagster airflow}; do
    python=$TOOLS/$name
    environment "$python" "scripts/$name.txt"
    # The wheel under test, whatever was there of an earlier one.
    "$python/bin/pip" install --quiet --disable-pip-version-check --no-deps --force-reinstall "$wheel"
    mkdir "$folder/$name"
    cp python/tests/conftest.py "$folder/$name/"
    cp -r "examples/$name" "$folder/$name/$name"
    (cd "$folder/$name" && PATH=$python/bin:$PATH "$python/bin/python" -m pytest -q -p no:cacheprovider "$name")
done
