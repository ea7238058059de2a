#!/usr/bin/env bash
# Makes the documentation a site of two books, English and Spanish, in target/book, and follows all of its links.
#   scripts/book.sh            then open target/book/index.html
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

environment "$BOOK_FOLDER" scripts/book.txt
python3 scripts/book.py "$BOOK_FOLDER/bin/mdbook"
