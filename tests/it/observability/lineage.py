"""Reads events, one a line, into the classes of OpenLineage's own client, which have what the specification has.

What an event has and a class does not, what it lacks, and what is of another type or form, is an error; and every facet must name
the very version of its specification that the client has.
"""

import json
import sys
from datetime import datetime
from typing import get_args, get_origin, get_type_hints

import attr
from openlineage.client import event_v2, facet_v2
from openlineage.client.generated import base, catalog_dataset, tags_run

FACETS = {
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    "parent": facet_v2.parent_run.ParentRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "tags": tags_run.TagsRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
    "columnLineage": facet_v2.column_lineage_dataset.ColumnLineageDatasetFacet,
    "catalog": catalog_dataset.CatalogDatasetFacet,
    "inputStatistics": facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}


def made(kind, value, where):
    """An object of a class, made of JSON as strictly as its fields say."""
    if get_origin(kind) is not None and type(None) in get_args(kind):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is list:
        assert isinstance(value, list), where
        return [made(get_args(kind)[0], one, f"{where}[]") for one in value]
    if get_origin(kind) is dict:
        assert isinstance(value, dict), where
        return {name: made(get_args(kind)[1], one, f"{where}.{name}") for name, one in value.items()}
    if not attr.has(kind):
        kinds = {str: str, bool: bool, int: int, float: (int, float)}
        assert isinstance(value, kinds[kind]) and (kind is bool or not isinstance(value, bool)), (where, kind, value)
        return value
    assert isinstance(value, dict), where
    value = dict(value)
    if issubclass(kind, base.BaseFacet):
        assert value.pop("_schemaURL") == kind._get_schema(), where
        assert value.pop("_producer").startswith("urn:acequia:"), where
    hints = get_type_hints(kind)
    return kind(**{name: made(hints[name], one, f"{where}.{name}") for name, one in value.items()})


def facets(of, where):
    return {name: made(FACETS[name], facet, f"{where}.{name}") for name, facet in of.items()}


def dataset(of, kind, own):
    known = set(of) - {own}
    assert known == {"namespace", "name", "facets"}, of
    assert of["namespace"] and of["name"], of
    own_facets = facets(of.get(own, {}), own)
    return kind(of["namespace"], of["name"], **{"facets": facets(of["facets"], "dataset"), own: own_facets})


for line in sys.stdin:
    event = json.loads(line)
    assert set(event) == {"eventType", "eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs"}, event
    assert event["schemaURL"] == event_v2.RunEvent._get_schema(), event["schemaURL"]
    assert datetime.fromisoformat(event["eventTime"].replace("Z", "+00:00")).tzinfo, event["eventTime"]
    event_v2.RunEvent(
        eventType=event_v2.RunState[event["eventType"]],
        eventTime=event["eventTime"],
        producer=event["producer"],
        run=event_v2.Run(event["run"]["runId"], facets(event["run"]["facets"], "run")),
        job=event_v2.Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"]["facets"], "job")),
        inputs=[dataset(one, event_v2.InputDataset, "inputFacets") for one in event["inputs"]],
        outputs=[dataset(one, event_v2.OutputDataset, "outputFacets") for one in event["outputs"]],
    )
