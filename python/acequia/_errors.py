"""What can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._reports import CheckReport, RunReport


class AcequiaError(Exception):
    """acequia could not do what it was asked; the message is its own, with the remedy."""


class ConfigError(AcequiaError):
    """The configuration or the arguments are wrong (exit status 2)."""


class Interrupted(AcequiaError):
    """The run was stopped (exit status 130). The next run takes it up."""


class RunFailed(AcequiaError):
    """Streams or models of a run failed. What the other streams loaded is there."""

    def __init__(self, report: RunReport) -> None:
        errors = [f"{stream.stream}: {stream.error}" for stream in report.streams if stream.error]
        errors += [f"models: {failure}" for failure in report.model_failures]
        super().__init__("\n".join(errors) or "the run failed")
        self.report = report
        """The report of the whole run."""


class CheckFailed(AcequiaError):
    """A check found what keeps the pipeline from running."""

    def __init__(self, report: CheckReport) -> None:
        failed = [finding for finding in report.findings if finding.verdict == "failed"]
        super().__init__("\n".join(f"{finding.subject}: {finding.message}\n  {finding.remedy}" for finding in failed))
        self.report = report
        """All that was found."""
