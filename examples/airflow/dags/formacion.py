"""The company's pipeline each morning: look whether it can run, run it, tell how many rows came.

acequia is installed in Airflow's own environment (the wheel has no dependencies). `ACEQUIA_CONFIG` names the configuration; secrets come
from the environment of the worker, or from `.env` beside it.
"""

import os
from datetime import datetime, timedelta

import acequia
from airflow.sdk import dag, task

CONFIG = os.environ.get("ACEQUIA_CONFIG", "/srv/formacion/acequia.toml")


@dag(
    schedule="0 6 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    # A destination takes one run at a time.
    max_active_runs=1,
)
def formacion():
    @task
    def check() -> list[str]:
        """Fails with the SQL or the setting that is missing. Returns what to know though it can run."""
        report = acequia.check(CONFIG)
        return [f"{finding.subject}: {finding.message}" for finding in report.findings if finding.verdict == "warning"]

    @task(retries=2, retry_delay=timedelta(minutes=5))
    def run() -> dict[str, int]:
        """Fails where a stream failed; the others are loaded. To try again is always right. Returns the rows of each stream."""
        report = acequia.run(CONFIG)
        for stream in report:
            for warning in stream.warnings:
                print(f"{stream.stream}: {warning}")
        return {stream.stream: stream.rows_extracted for stream in report}

    check() >> run()


formacion()
