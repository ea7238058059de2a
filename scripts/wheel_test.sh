#!/usr/bin/env bash
# Installs the wheel into a clean environment and runs the tests of the Python package there: the command, from init to a run
# against a real PostgreSQL, and the functions. Builds the wheel with the tests' profile, unless it is given.
#   scripts/wheel_test.sh [WHEEL]
set -euo pipefail
cd "$(dirname "$0")/.."

wheel=${1:-$(PROFILE=release scripts/wheel.sh)}
scripts/cargo.sh build --release --locked --workspace --bin testkit
TESTKIT=${CARGO_TARGET_DIR:-$PWD/target}/release/testkit
export TESTKIT
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pip=("$folder/env/bin/pip" --disable-pip-version-check --quiet)
"${pip[@]}" install "$wheel"
# Without anything else installed, the command and `python -m acequia` are there.
"$folder/env/bin/acequia" --version
"$folder/env/bin/python" -m acequia --version >/dev/null
"${pip[@]}" install --only-binary :all: --require-hashes -r scripts/wheel-test.txt
"$folder/env/bin/mypy" --strict python/acequia
cp -r python/tests "$folder/tests"
# From a folder without the sources, so that what was installed is what is tested.
cd "$folder"
PATH=$folder/env/bin:$PATH "$folder/env/bin/python" -m pytest -q -p no:cacheprovider tests
