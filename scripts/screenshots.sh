#!/usr/bin/env bash
# Draws a report page with Debian's chromium, as the README shows it.
#   scripts/screenshots.sh [PAGE [FOLDER]]     default: informe.html, which `make demo` makes, into docs/images
set -euo pipefail
cd "$(dirname "$0")/.."
page=$(realpath "${1:-informe.html}")
folder=${2:-docs/images}
mkdir -p "$folder"
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT

# draw FILE WIDTH HEIGHT. The charts have all of the budget, which does not pass while something is computed.
draw() {
    chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --force-color-profile=srgb \
        --lang=en --user-data-dir="$profile" --window-size="$2,$3" --virtual-time-budget=20000 \
        --screenshot="$folder/$1" "file://$page" 2>/dev/null
    [ -s "$folder/$1" ] || { echo "screenshots: chromium drew nothing of $page" >&2; exit 1; }
}

draw report.png 1280 1500
