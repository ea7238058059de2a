"""The functions, which start the command and read what it prints."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._binary import find_binary
from ._errors import AcequiaError, CheckFailed, ConfigError, Interrupted, RunFailed
from ._reports import CheckReport, RunReport, StatusReport

if TYPE_CHECKING:
    import duckdb
    import pyarrow

Config = str | os.PathLike[str]
# A datetime is a date.
RangeEnd = str | date | int | Decimal


@dataclass(frozen=True)
class Pipeline:
    """A configuration, and what the command is started with."""

    config: Path
    environment: Mapping[str, str] | None

    def call(self, *arguments: str) -> tuple[int, Any, str]:
        """Runs a command: its exit status, the JSON that it printed (None without any), what it said on standard error."""
        command = [str(find_binary()), *arguments, "--config", str(self.config), "--output", "json"]
        environment = None if self.environment is None else {**os.environ, **self.environment}
        # A signal from the keyboard reaches the command by itself, as it is of the same group.
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        printed = json.loads(done.stdout) if done.stdout.strip() else None
        said = done.stderr.strip()
        if done.returncode == 2:
            raise ConfigError(said)
        if done.returncode == 130:
            raise Interrupted(said or "interrupted")
        if printed is None:
            raise AcequiaError(said or f"acequia ended with status {done.returncode}")
        return done.returncode, printed, said

    def rows_of(self, load_id: str) -> pyarrow.Table:
        """The rows of a load in the landing area."""
        import pyarrow.parquet

        _, inspection, _ = self.call("inspect", load_id, "--rows", "0")
        location = inspection["location"]
        names = [Path(part["path"]).name for part in inspection["parts"]]
        if "://" not in location:
            files, folder = None, location
        else:
            from pyarrow import fs

            files, folder = fs.FileSystem.from_uri(location)
        parts = [pyarrow.parquet.read_table(f"{folder}/{name}", filesystem=files) for name in names]
        return pyarrow.concat_tables(parts)


def _selection(streams: str | Sequence[str] | None, destination: str | None) -> list[str]:
    arguments = [streams] if isinstance(streams, str) else list(streams or [])
    if destination is not None:
        arguments += ["--destination", destination]
    return arguments


def run(
    config: Config = "acequia.toml",
    streams: str | Sequence[str] | None = None,
    *,
    destination: str | None = None,
    full_refresh: bool = False,
    range_from: RangeEnd | None = None,
    range_to: RangeEnd | None = None,
    range_column: str | None = None,
    jobs: int | None = None,
    environment: Mapping[str, str] | None = None,
    raises: bool = True,
) -> RunReport:
    """Copies streams from their sources into the destination, all of them if none is named.

    With `range_from`, `range_to` or both, the rows with these cursor values (from the first on, below the second) are read once
    more and replaced, and nothing else; with `range_column`, those with these values of that column.

    `environment` is added to the process's own, for the `${NAMES}` of the configuration. With `raises=False` a stream that
    failed is told by the report alone.

    Raises ConfigError where the configuration is wrong, RunFailed (with the report) where a stream failed, Interrupted where
    the run was stopped.
    """
    pipeline = Pipeline(Path(config), environment)
    options = ["--full-refresh"] if full_refresh else []
    for name, end in (("from", range_from), ("to", range_to), ("column", range_column)):
        if end is not None:
            # As one argument, so that a value may begin with a dash.
            options.append(f"--{name}={end.isoformat() if isinstance(end, date) else end}")
    if jobs is not None:
        options += ["--jobs", str(jobs)]
    _, printed, _ = pipeline.call("run", *_selection(streams, destination), *options)
    report = RunReport._of(printed, pipeline)
    if raises and not report.ok:
        raise RunFailed(report)
    return report


def status(
    config: Config = "acequia.toml",
    streams: str | Sequence[str] | None = None,
    *,
    destination: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> StatusReport:
    """How far each stream is. A stream whose last run failed is told by its `failure`; nothing is raised for it."""
    pipeline = Pipeline(Path(config), environment)
    _, printed, _ = pipeline.call("status", *_selection(streams, destination))
    return StatusReport._of(printed)


def check(
    config: Config = "acequia.toml",
    streams: str | Sequence[str] | None = None,
    *,
    destination: str | None = None,
    environment: Mapping[str, str] | None = None,
    raises: bool = True,
) -> CheckReport:
    """Looks whether the configuration, its connections and their privileges work. Raises CheckFailed where they do not."""
    pipeline = Pipeline(Path(config), environment)
    _, printed, _ = pipeline.call("check", *_selection(streams, destination))
    report = CheckReport._of(printed)
    if raises and not report.ok:
        raise CheckFailed(report)
    return report


def connect(
    config: Config = "acequia.toml",
    *,
    destination: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> duckdb.DuckDBPyConnection:
    """The destination's DuckDB file, opened to be read, with the pipeline's dataset as the schema that names are looked up in.

    Needs duckdb (`acequia[duckdb]`). Close the connection before the next run: a DuckDB file has no readers beside its writer.
    """
    import duckdb

    found = status(config, destination=destination, environment=environment)
    if found.path is None:
        raise AcequiaError(f"destination {found.destination} is of kind {found.kind}: connect() opens DuckDB files")
    if not found.path.is_file():
        raise AcequiaError(f"{found.path} is not there yet: run the pipeline first")
    connection = duckdb.connect(str(found.path), read_only=True)
    dataset = found.dataset.replace('"', '""')
    connection.execute(f"USE \"{dataset}\"")
    return connection
