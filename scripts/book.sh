#!/usr/bin/env bash
# Makes the documentation a site of two books, English and Spanish, in target/book, and follows all of its links.
#   scripts/book.sh            then open target/book/index.html
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

if ! cmp -s scripts/book.txt "$BOOK_FOLDER/book.txt"; then
    printf 'book: installing mdBook into %s\n' "$BOOK_FOLDER" >&2
    rm -rf "$BOOK_FOLDER"
    python3 -m venv "$BOOK_FOLDER"
    "$BOOK_FOLDER/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r scripts/book.txt
    cp scripts/book.txt "$BOOK_FOLDER/book.txt"
fi
python3 scripts/book.py "$BOOK_FOLDER/bin/mdbook"
