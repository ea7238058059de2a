"""The company's pipeline as assets, one for each stream of `acequia.toml`.

A selection of assets is one run of these streams: one process, one opening of the DuckDB file. Streams that are copied are materialized also
where another failed.
"""

import os
import tomllib
from pathlib import Path

import acequia
import dagster as dg

CONFIG = Path(os.environ.get("ACEQUIA_CONFIG", "acequia.toml"))
PIPELINE = tomllib.loads(CONFIG.read_text())


def asset_of(name: str, stream: dict) -> dg.AssetSpec:
    stream = {**PIPELINE.get("defaults", {}), **stream}
    if "tables" in stream:
        raise ValueError(f"[streams.{name}] stands for the tables that a run finds, and assets are known before: give each table a stream")
    return dg.AssetSpec(
        [PIPELINE["pipeline"]["dataset"], name],
        group_name=PIPELINE["pipeline"]["name"],
        kinds={PIPELINE["destinations"][PIPELINE["pipeline"]["destination"]]["kind"]},
        description=f"{stream.get('table') or stream.get('object') or 'a query'} of {stream['source']}, {stream['mode']}",
        skippable=True,
    )


@dg.multi_asset(
    specs=[asset_of(name, stream) for name, stream in PIPELINE["streams"].items()],
    can_subset=True,
    # A destination takes one run at a time: the pool has one place.
    pool="acequia",
    retry_policy=dg.RetryPolicy(max_retries=2, delay=300),
)
def streams(context: dg.AssetExecutionContext):
    chosen = [key.path[-1] for key in context.selected_asset_keys]
    report = acequia.run(CONFIG, streams=chosen, raises=False)
    for stream in report:
        for warning in stream.warnings:
            context.log.warning(f"{stream.stream}: {warning}")
        if stream.status == "ok":
            yield dg.MaterializeResult(
                asset_key=[PIPELINE["pipeline"]["dataset"], stream.stream],
                metadata={
                    "dagster/partition_row_count": stream.rows_extracted,
                    "inserted": stream.inserted,
                    "updated": stream.updated,
                    "deleted": stream.deleted,
                    "load": stream.load_id or "nothing new",
                    "seconds": stream.seconds,
                },
            )
    failed = [stream for stream in report if stream.status != "ok"]
    if failed:
        raise dg.Failure("\n".join(f"{stream.stream}: {stream.error or stream.status}" for stream in failed))


every_morning = dg.ScheduleDefinition(
    name="every_morning",
    target=dg.AssetSelection.all(),
    cron_schedule="0 6 * * *",
)

defs = dg.Definitions(assets=[streams], schedules=[every_morning])
