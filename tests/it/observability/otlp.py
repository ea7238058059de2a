"""Decodes requests of OTLP as OpenTelemetry's own generated code does.

Each line of the input is `traces` or `metrics`, a blank, and the body of a request in hexadecimal digits. Prints a list of spans and
one of values of metrics, as JSON, each with the attributes of its resource.
"""

import json
import sys

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(of):
    found = {one.key: value(one.value) for one in of}
    assert len(found) == len(of), of
    return found


spans, values = [], []
for line in sys.stdin:
    signal, body = line.split()
    request = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest}[signal]()
    request.ParseFromString(bytes.fromhex(body))
    if signal == "traces":
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
                    spans.append(
                        {
                            "name": span.name,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "links": [link.span_id.hex() for link in span.links],
                            "events": len(span.events),
                            "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                            "status": Status.StatusCode.Name(span.status.code),
                            "message": span.status.message,
                            "attributes": attributes(span.attributes),
                            "resource": attributes(resource.resource.attributes),
                        }
                    )
    else:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    if kind == "sum":
                        # Cumulative, and never less than before.
                        assert metric.sum.is_monotonic and metric.sum.aggregation_temporality == 2, metric
                    for point in getattr(metric, kind).data_points:
                        values.append(
                            {
                                "name": metric.name,
                                "kind": kind,
                                "unit": metric.unit,
                                "description": metric.description,
                                "labels": attributes(point.attributes),
                                "value": point.as_double,
                                "resource": attributes(resource.resource.attributes),
                            }
                        )
json.dump({"spans": spans, "values": values}, sys.stdout)
