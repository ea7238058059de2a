# The two commands are `make demo` and `make test`; the rest is for those who work on acequia.
# Everything is built with --release, and DuckDB is a shared library where scripts/setup.sh can fetch it.

CARGO := scripts/cargo.sh
# Where the demo loads: duckdb, postgres or lake.
DESTINATION ?= duckdb

.PHONY: demo test engines lint doc deny fuzz format bench setup matrix soak wheel wheel-test packages packages-test examples-test book screenshots

# How many minutes each soak and fuzz runs.
MINUTES ?= 60

demo: setup
	$(CARGO) build --release --bin acequia --example demo
	DESTINATION=$(DESTINATION) $(CARGO) run --release --quiet --example demo

# The picture of the report page in docs/images, of the page that the demo makes.
screenshots: demo
	scripts/screenshots.sh

test: setup
	$(CARGO) test --release --workspace

# Every test against each PostgreSQL that acequia is tested with.
matrix:
	scripts/matrix.sh

# Soaks and fuzzers, for as long as MINUTES says; ACEQUIA_SEED repeats one.
soak: setup
	ACEQUIA_SOAK=$(MINUTES) $(CARGO) test --release --workspace --test it -- --nocapture --test-threads 1 soak fuzz following_is_stopped

# The lake with engines elsewhere, all of it: `make test` has a sample.
engines: setup
	ACEQUIA_ENGINES=all $(CARGO) test --release -p acequia --lib -- destination::iceberg --include-ignored

lint: setup
	cargo fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RELEASED=1 $(CARGO) clippy --release -- -D warnings

# The documentation of all items, private ones included; a link that leads nowhere is an error.
doc: setup
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --release --workspace --no-deps --document-private-items --locked

# Licences, bans, sources and advisories of all dependencies.
deny:
	scripts/deny.sh

# Each fuzz target for a minute, or for FUZZ_SECONDS.
fuzz: setup
	scripts/fuzz.sh

# The wheel for PyPI, in target/wheels: the command, and a Python package that drives it.
wheel: setup
	scripts/wheel.sh

# The same with the tests' profile, installed into a clean environment and tried there.
wheel-test: setup
	scripts/wheel_test.sh

# The other packages, of what the wheel holds, in target/packages: a tarball, a .deb, npm packages, their checksums.
packages: setup
	scripts/packages.sh

# The same with the tests' profile, each installed into a clean place and tried there.
packages-test: setup
	PROFILE=release scripts/packages_test.sh

# The examples under the real Airflow and Dagster. Airflow takes minutes, so .ci/run has Dagster alone.
examples-test: setup
	scripts/examples_test.sh

# The documentation as a site, in target/book, with its links followed.
book:
	scripts/book.sh

format:
	cargo fmt --all

bench: setup
	$(CARGO) bench --workspace

setup:
	@scripts/setup.sh
