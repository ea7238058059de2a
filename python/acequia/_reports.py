"""The reports, as they are printed with `--output json`: see docs/json.md for each key.

Keys that this version does not know stay in `raw`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pyarrow

    from ._api import Pipeline

T = TypeVar("T")


def _known(of: type[T], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a JSON object that a class has fields for."""
    names = {known.name for known in fields(of)}  # type: ignore[arg-type]
    return {key: value for key, value in raw.items() if key in names}


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


@dataclass(frozen=True)
class StreamReport:
    """What a run did with a stream."""

    stream: str
    status: str
    """`ok`, `failed` or `skipped`."""
    mode: str
    load_id: str | None
    """The last load; None where there was nothing to load."""
    rows_extracted: int
    inserted: int
    updated: int
    deleted: int
    bytes_landed: int
    seconds: float
    error: str | None
    warnings: list[str]
    schema_changes: list[str]
    raw: Mapping[str, Any] = field(repr=False)
    """All keys, as they were printed."""
    _pipeline: Pipeline = field(repr=False, compare=False)

    def arrow(self) -> pyarrow.Table:
        """The rows of the stream's last load, from the landing area. Needs pyarrow (`acequia[arrow]`).

        These are the rows that were read from the source, not those of the destination's table.
        """
        if self.load_id is None:
            raise LookupError(f"stream {self.stream}: the run loaded nothing")
        return self._pipeline.rows_of(self.load_id)


@dataclass(frozen=True)
class RunReport:
    """What a run did: `report["ventas"]` is a stream's part of it."""

    pipeline: str
    destination: str
    seconds: float
    streams: list[StreamReport]
    raw: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, stream: str) -> StreamReport:
        for of in self.streams:
            if of.stream == stream:
                return of
        raise KeyError(stream)

    def __iter__(self) -> Iterator[StreamReport]:
        return iter(self.streams)

    @property
    def ok(self) -> bool:
        """Whether every stream is, and the models, if there are any, are as they should be."""
        return all(stream.status == "ok" for stream in self.streams) and not self.model_failures

    @property
    def model_failures(self) -> list[str]:
        """What is wrong with the models: tests that failed, or what kept them from being built."""
        models = self.raw.get("models") or {}
        failed = [test for test in models.get("tests", []) if test["status"] == "failed"]
        errors = [f"{test['model'] or 'test'}: {test['test']} ({test['file']}): failed by {test['rows']}" for test in failed]
        return errors + ([models["error"]] if models.get("error") else [])

    @classmethod
    def _of(cls, raw: Mapping[str, Any], pipeline: Pipeline) -> RunReport:
        streams = [StreamReport(**_known(StreamReport, of), raw=of, _pipeline=pipeline) for of in raw["streams"]]
        return cls(**{**_known(cls, raw), "streams": streams}, raw=raw)


@dataclass(frozen=True)
class Failure:
    """How a stream's last run failed."""

    failed_at: datetime
    since: datetime
    """When the first of the runs that failed in a row did."""
    runs: int
    error: str


@dataclass(frozen=True)
class StreamStatus:
    """How far a stream is."""

    stream: str
    mode: str
    load_id: str | None
    rows_extracted: int
    loaded_at: datetime | None
    pending: list[str]
    set_aside: list[str]
    failure: Failure | None
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def _of(cls, raw: Mapping[str, Any]) -> StreamStatus:
        failure = raw["failure"]
        if failure is not None:
            times = {key: _time(failure[key]) for key in ("failed_at", "since")}
            failure = Failure(**{**_known(Failure, failure), **times})
        given = {"loaded_at": _time(raw["loaded_at"]), "failure": failure}
        return cls(**{**_known(cls, raw), **given}, raw=raw)


@dataclass(frozen=True)
class StatusReport:
    """How far each stream is: `status["ventas"]` is one's part of it."""

    pipeline: str
    destination: str
    kind: str
    """`duckdb`, `postgres` or `iceberg`."""
    dataset: str
    path: Path | None
    """The DuckDB file; None for other kinds."""
    streams: list[StreamStatus]
    raw: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, stream: str) -> StreamStatus:
        for of in self.streams:
            if of.stream == stream:
                return of
        raise KeyError(stream)

    def __iter__(self) -> Iterator[StreamStatus]:
        return iter(self.streams)

    @classmethod
    def _of(cls, raw: Mapping[str, Any]) -> StatusReport:
        path = None if raw["path"] is None else Path(raw["path"])
        streams = [StreamStatus._of(of) for of in raw["streams"]]
        return cls(**{**_known(cls, raw), "path": path, "streams": streams}, raw=raw)


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    subject: str
    verdict: str
    """`ok`, `warning` or `failed`."""
    message: str
    remedy: str | None


@dataclass(frozen=True)
class CheckReport:
    """All that a check found."""

    pipeline: str
    destination: str
    ok: bool
    findings: list[Finding]
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def _of(cls, raw: Mapping[str, Any]) -> CheckReport:
        findings = [Finding(**_known(Finding, of)) for of in raw["findings"]]
        return cls(**{**_known(cls, raw), "findings": findings}, raw=raw)
