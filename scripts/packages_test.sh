#!/usr/bin/env bash
# Installs each package into a clean place and runs the command from there, from init to a run against a real PostgreSQL: the
# tarball, the Debian package by dpkg into a root of its own, the npm packages without a script. Also looks over the systemd units, the
# workflows and the shell scripts.
#   scripts/packages_test.sh [WHEEL]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

scripts/packages.sh "$@"
OUT=$PWD/target/packages
(cd "$OUT" && sha256sum --quiet --check ./*.sha256)
TESTKIT=${TESTKIT:-${CARGO_TARGET_DIR:-$PWD/target}/release/testkit}
export TESTKIT
[ -x "$TESTKIT" ] || scripts/cargo.sh build --release --locked --workspace --bin testkit
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check --quiet install --only-binary :all: "pytest==$(sed -n "s/^pytest==\([^ ]*\).*/\1/p" scripts/wheel-test.txt)"
cp -r python/tests "$folder/tests"

# What a newcomer does, with the command of a package and no other.
try() {
    printf '%s: ' "$1"
    "$2/acequia" --version
    (cd "$folder" && PATH=$2:$PATH "$folder/env/bin/python" -m pytest -q -p no:cacheprovider tests/test_command.py -k init_check_and_run)
}

mkdir "$folder/tar"
tar -C "$folder/tar" -xzf "$OUT"/acequia-*-linux-gnu.tar.gz
try tarball "$(echo "$folder"/tar/acequia-*/bin)"

# dpkg, into a root that has nothing else: hence no dependencies, and its scripts run outside of it, told where by DPKG_ROOT.
root=$folder/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
touch "$root/var/lib/dpkg/status" "$root/var/lib/dpkg/available"
dpkg=(dpkg "--root=$root" --force-depends --force-not-root --force-script-chrootless)
"${dpkg[@]}" --install "$OUT"/acequia_*.deb >/dev/null
try deb "$root/usr/bin"
for unit in acequia@.service acequia@.timer acequia-follow@.service; do
    [ -f "$root/usr/lib/systemd/system/$unit" ]
done
if command -v systemd-analyze >/dev/null; then
    # With the binary where it was installed.
    for unit in acequia@ acequia-follow@; do
        sed "s|/usr/bin/acequia|$root/usr/bin/acequia|" "$root/usr/lib/systemd/system/$unit.service" >"$folder/${unit}formacion.service"
        systemd-analyze verify --man=no "$folder/${unit}formacion.service"
    done
fi
if command -v systemd-sysusers >/dev/null; then
    grep -q ^acequia: "$root/etc/passwd" || { echo "the package made no user" >&2; exit 1; }
fi
mkdir -p "$root/etc/acequia/formacion"
touch "$root/etc/acequia/formacion/acequia.toml"
"${dpkg[@]}" --purge acequia >/dev/null 2>&1
[ ! -e "$root/usr/bin/acequia" ] && [ -e "$root/etc/acequia/formacion/acequia.toml" ]

if command -v npm >/dev/null; then
    mkdir "$folder/npm"
    # The packages of other platforms are not there: they are optional, and none is looked for.
    (cd "$folder/npm" && npm install --silent --ignore-scripts --offline --omit=optional --no-save "$OUT"/acequia-[0-9]*.tgz "$OUT"/acequia-linux-*.tgz)
    try npm "$folder/npm/node_modules/.bin"
fi

"$PACKAGES_FOLDER/bin/actionlint" .github/workflows/*.yml
echo "packages: all well"
