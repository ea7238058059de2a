"""Times whole processes: loads into the lake, into a DuckDB file, and by DuckDB's own extension. See lake.sh.

Rows are extracted once, into a DuckDB file that is not measured; what is measured applies the landed loads (`acequia replay`).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGURATION = """
[pipeline]
name = "bench"
dataset = "bench"
destination = "extracted"
[destinations.extracted]
kind = "duckdb"
path = "extracted.duckdb"
[destinations.file]
kind = "duckdb"
path = "file.duckdb"
[destinations.lake]
kind = "iceberg"
catalog = "${LAKE_CATALOG}"
warehouse = "lake"
credential = "${LAKE_ID}:${LAKE_SECRET}"
extensions = "${LAKE_EXTENSIONS}"
[sources.operativa]
kind = "postgres"
url = "${OPERATIVA_URL}"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"""

# By one who knows DuckDB and not acequia: no ledger, no position.
BY_HAND = """
import duckdb, os, sys
connection = duckdb.connect()
for extension in ("httpfs", "avro", "iceberg"):
    connection.execute(f"LOAD '{os.environ['LAKE_EXTENSIONS']}/{extension}.duckdb_extension'")
host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
connection.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{os.environ['LAKE_ID']}', SECRET '{os.environ['LAKE_SECRET']}', "
                   f"ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')")
connection.execute(f"CREATE SECRET c (TYPE iceberg, CLIENT_ID '{os.environ['LAKE_ID']}', "
                   f"CLIENT_SECRET '{os.environ['LAKE_SECRET']}', OAUTH2_SERVER_URI '{os.environ['LAKE_CATALOG']}/v1/oauth/tokens')")
connection.execute(f"ATTACH 'lake' AS lake (TYPE iceberg, ENDPOINT '{os.environ['LAKE_CATALOG']}', SECRET c)")
for statement in sys.argv[1:]:
    connection.execute(statement)
"""


class Bench:
    def __init__(self, acequia: str, url: str, folder: str) -> None:
        self.acequia = acequia
        self.folder = folder
        self.url = url
        self.environment = {**os.environ, "OPERATIVA_URL": url}
        Path(folder, "acequia.toml").write_text(CONFIGURATION)

    def measure(self, command: list[str]) -> float:
        began = time.monotonic()
        ended = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if ended.returncode != 0:
            sys.exit(f"{command}: {ended.stderr}")
        return time.monotonic() - began

    def change(self, sql: str) -> None:
        """Changes the source, and lands what changed."""
        self.measure(["psql", "--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url])
        self.land()

    def land(self) -> None:
        self.measure([self.acequia, "run"])

    def replay(self, destination: str) -> float:
        return self.measure([self.acequia, "replay", "--destination", destination])

    def by_hand(self, *statements: str) -> float:
        return self.measure([sys.executable, "-c", BY_HAND, *statements])

    def parts(self) -> str:
        """The parts of the newest load, as SQL names them."""
        load = max(Path(self.folder, "landing/bench/ventas").iterdir(), key=lambda load: load.name)
        return f"read_parquet('{load}/*.parquet')"


def main() -> None:
    acequia, url, rows, loads = sys.argv[1], sys.argv[2].split()[0], int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(str(Path(acequia).resolve()), url, folder)
        bench.land()
        columns = "cliente_id curso_id fecha_venta fecha_inicio fecha_fin num_participantes precio_total estado updated_at"
        sets = ", ".join(f"{column} = n.{column}" for column in columns.split())
        first = ["CREATE SCHEMA IF NOT EXISTS lake.by_hand", f"CREATE TABLE lake.by_hand.ventas AS FROM {bench.parts()}"]
        print(f"{rows} rows{'':20}{'lake':>8}{'file':>8}{'by hand':>9}")

        def line(what: str, statements: list[str]) -> None:
            times = bench.replay("lake"), bench.replay("file"), bench.by_hand(*statements)
            print(f"{what:28}" + "".join(f"{seconds:8.2f}" for seconds in times), flush=True)

        def merge() -> list[str]:
            return [
                f"MERGE INTO lake.by_hand.ventas AS o USING {bench.parts()} AS n ON o.id = n.id "
                f"WHEN MATCHED THEN UPDATE SET {sets} WHEN NOT MATCHED THEN INSERT"
            ]

        line("first load", first)
        bench.change("UPDATE ventas SET precio_total = precio_total + 1 WHERE id % 10 = 0")
        line(f"{rows // 10} rows changed", merge())
        bench.change(f"UPDATE ventas SET precio_total = precio_total + 1 WHERE id > {rows - 1000}")
        line("1000 recent rows changed", merge())
        print(f"\nloads of {rows // 100} changes{'':9}{'lake':>8}{'file':>8}   a sum over the lake's table")
        for load in range(1, loads + 1):
            bench.change(f"UPDATE ventas SET precio_total = precio_total + 1 WHERE id % 100 = {load % 100}")
            times = bench.replay("lake"), bench.replay("file")
            if load in (1, 5, 20, 50):
                scan = bench.by_hand("SELECT sum(precio_total) FROM lake.bench.ventas")
                print(f"{load:28}" + "".join(f"{seconds:8.2f}" for seconds in (*times, scan)), flush=True)


main()
