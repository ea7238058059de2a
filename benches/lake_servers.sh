# Sourced by the benches of the lake: builds what they measure, and starts PostgreSQL with ROWS `ventas` and a lake with these
# arguments of the test kit. Sets `target` and `url`, and exports where the lake is.
. scripts/tools.sh
scripts/setup.sh

scripts/cargo.sh build --release --workspace --bins
target=$(realpath "${CARGO_TARGET_DIR:-target}")/release

# The servers end with the script, when their standard input does.
coproc server { exec "$target/testkit" serve --ventas "${ROWS:-5000000}" --participantes 1 --actividades 1; }
read -r url <&"${server[0]}" || { echo "the server did not start" >&2; exit 1; }
# One coprocess at a time is all that bash promises; the lake's input is the other end of the first one's.
exec {lake}< <(exec "$target/testkit" lake "$@" <&"${server[0]}")
while read -r -u "$lake" line; do
    export "${line?}"
    case $line in LAKE_EXTENSIONS=*) break ;; esac
done
