#!/usr/bin/env bash
# Installs what building and testing acequia needs and this machine lacks. Says nothing when nothing is missing.
#   a C and a C++ compiler, make     DuckDB and OpenSSL are built from source
#   perl with its standard modules   OpenSSL's build
#   pkg-config                       some crates look for system libraries
#   PostgreSQL 15+ server binaries   the tests start servers of their own (no running server is needed)
#   openssl (the command)            a test makes a certificate
#   cargo 1.95+                      not installed here, only checked
# The S3 service of the tests is a Rust crate: nothing to install for it.
set -euo pipefail

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

# Fills `missing` with the Debian packages that bring what is not there.
missing=()
look() {
    missing=()
    has cc && has c++ && has make || missing+=(build-essential)
    has_perl || missing+=(perl)
    has pkg-config || missing+=(pkg-config)
    has_postgres || missing+=(postgresql)
    has openssl || missing+=(openssl)
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
            "perl with its standard modules, pkg-config, openssl, and the PostgreSQL $POSTGRES_MINIMUM+ server (initdb and postgres," \
            "in the folder that 'pg_config --bindir' prints), then run this again"
    fi
    if [ "$(id -u)" -ne 0 ] && ! { has sudo && sudo -n true 2>/dev/null; }; then
        fail "missing: ${missing[*]}" "as root, run: apt-get install --no-install-recommends ${missing[*]}"
    fi
    printf 'setup: installing %s\n' "${missing[*]}" >&2
    log=$(mktemp)
    # A stale list of packages is mended by one update.
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
