"""Runs acequia from Python, and reads what it loaded.

The functions start the command and read the JSON that it prints; there is no second engine in this process, so a DuckDB that
the program has open by itself is not in the way.

    import acequia

    report = acequia.run("acequia.toml", streams=["ventas"])
    report["ventas"].rows_extracted
    report["ventas"].arrow()                     # the rows of its load, from the landing area
    acequia.connect().sql("SELECT count(*) FROM ventas")
"""

from ._api import check, connect, run, status
from ._binary import find_binary
from ._errors import AcequiaError, CheckFailed, ConfigError, Interrupted, RunFailed
from ._reports import CheckReport, Failure, Finding, RunReport, StatusReport, StreamReport, StreamStatus

__all__ = [
    "AcequiaError",
    "CheckFailed",
    "CheckReport",
    "ConfigError",
    "Failure",
    "Finding",
    "Interrupted",
    "RunFailed",
    "RunReport",
    "StatusReport",
    "StreamReport",
    "StreamStatus",
    "check",
    "connect",
    "find_binary",
    "run",
    "status",
]
