# The two commands are `make demo` and `make test`; the rest is for those who work on acequia.
# Everything is built with --release: the bundled DuckDB is then compiled once (some 20 minutes, the first time).

FEATURES := --features failpoints
# Where the demo loads: duckdb or postgres.
DESTINATION ?= duckdb

.PHONY: demo test lint format bench setup

demo: setup
	cargo build --release --workspace --all-targets $(FEATURES)
	DESTINATION=$(DESTINATION) cargo run --release --quiet --example demo $(FEATURES)

test: setup
	cargo test --release --workspace $(FEATURES)

lint:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets $(FEATURES) -- -D warnings

format:
	cargo fmt --all

bench: setup
	cargo bench --workspace $(FEATURES)

setup:
	@scripts/setup.sh
