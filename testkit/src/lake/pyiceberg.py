"""Answers what is asked of an Iceberg catalog by PyIceberg: a line of JSON for a line of JSON, until the input ends."""

import decimal
import json
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError

uri, warehouse, credential = sys.argv[1:]
catalog = load_catalog(
    "lake",
    **{
        "type": "rest",
        "uri": uri,
        "warehouse": warehouse,
        "credential": credential,
        "oauth2-server-uri": uri + "/v1/oauth/tokens",
        "s3.endpoint": os.environ["AWS_ENDPOINT_URL"],
        "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
        "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "s3.region": os.environ["AWS_REGION"],
    },
)


def tables(question):
    try:
        return sorted(name[-1] for name in catalog.list_tables(question["namespace"]))
    except NoSuchNamespaceError:
        return []


def scan(question):
    rows = load(question).scan().to_arrow()
    pq.write_table(rows, question["with"])
    return rows.num_rows


def rows(question):
    found = load(question).scan().to_arrow().to_pylist()
    return sorted(found, key=lambda row: json.dumps(row, default=str))


def sums(question):
    found = load(question).scan().to_arrow()
    columns = {}
    for name, column in zip(found.column_names, found.columns):
        total = None
        if pa.types.is_integer(column.type) or pa.types.is_decimal(column.type):
            values = (decimal.Decimal(value) for value in column.to_pylist() if value is not None)
            total = str(sum(values, decimal.Decimal(0)))
        elif pa.types.is_floating(column.type):
            total = repr(pc.sum(column).as_py())
        columns[name] = {"values": len(column) - column.null_count, "sum": total}
    return {"rows": found.num_rows, "columns": columns}


def query(question):
    """Rows of a query over what PyIceberg reads of the namespace's tables; DuckDB does no more than the sums."""
    namespace, sql = question["namespace"], question["with"]
    connection = duckdb.connect()
    connection.execute(f'CREATE SCHEMA "{namespace}"')
    for name in tables(question):
        if f"{namespace}.{name}" in sql:
            rows = load({**question, "table": name}).scan().to_arrow()
            connection.register("read", rows)
            connection.execute(f'CREATE TABLE "{namespace}"."{name}" AS FROM read')
    found = connection.execute(sql)
    names = [column[0] for column in found.description]
    return {"names": names, "rows": [[text(value) for value in row] for row in found.fetchall()]}


def text(value):
    """A value as Rust writes it."""
    if value is None:
        return ""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def properties(question):
    return load(question).properties


def snapshots(question):
    return [snapshot.snapshot_id for snapshot in load(question).metadata.snapshots]


def set_properties(question):
    with load(question).transaction() as transaction:
        transaction.set_properties(question["with"])


def append(question):
    table = load(question)
    schema = table.schema().as_arrow()
    table.append(pa.Table.from_pylist(question["with"], schema=schema))


def create(question):
    catalog.create_namespace_if_not_exists(question["namespace"])
    content = pa.Table.from_pylist(question["with"])
    catalog.create_table(identifier(question), schema=content.schema).append(content)


def drop(question):
    catalog.drop_table(identifier(question))


def identifier(question):
    return (question["namespace"], question["table"])


def load(question):
    return catalog.load_table(identifier(question))


ANSWERS = {
    answer.__name__: answer
    for answer in (tables, scan, rows, sums, query, properties, snapshots, set_properties, append, create, drop)
}
# Sums are exact.
decimal.getcontext().prec = 100

for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = {"answer": ANSWERS[question["what"]](question)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), flush=True)
