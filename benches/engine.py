"""Times whole processes that apply landed loads (`acequia replay`) by way of an engine elsewhere, and by DuckDB, and tells the most
memory that each has. See engine.sh.

Rows are extracted once, into object storage and a DuckDB file that are not measured.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LAKE = """
[destinations.{name}]
kind = "iceberg"
catalog = "${{LAKE_CATALOG}}"
warehouse = "lake"
credential = "${{LAKE_ID}}:${{LAKE_SECRET}}"
extensions = "${{LAKE_EXTENSIONS}}"
"""
ENGINE = """engine = "${ENGINE_URL}"
engine_catalog = "${ENGINE_CATALOG}"
"""
# The two destinations are two datasets: each has tables of its own.
CONFIGURATION = """
[pipeline]
name = "bench"
dataset = "{dataset}"
landing = "s3://landing/bench"
destination = "extracted"
[destinations.extracted]
kind = "duckdb"
path = "extracted.duckdb"
{lakes}
[sources.operativa]
kind = "postgres"
url = "${{OPERATIVA_URL}}"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"""


class Bench:
    def __init__(self, acequia: str, url: str, folder: str) -> None:
        self.acequia = acequia
        self.folder = Path(folder)
        self.url = url
        self.environment = {**os.environ, "OPERATIVA_URL": url}
        lakes = LAKE.format(name="engine") + ENGINE + LAKE.format(name="duckdb")
        for dataset in ("engine", "duckdb"):
            text = CONFIGURATION.format(dataset=dataset, lakes=lakes)
            (self.folder / f"{dataset}.toml").write_text(text)

    def measure(self, command: list[str]) -> tuple[float, float]:
        """Seconds, and the most memory resident, in MiB."""
        began = time.monotonic()
        with open(self.folder / "output", "w+") as output:
            child = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=output, stderr=output)
            _, status, used = os.wait4(child.pid, 0)
            if status != 0:
                output.seek(0)
                sys.exit(f"{command}: {output.read()}")
        return time.monotonic() - began, used.ru_maxrss / 1024

    def change(self, sql: str) -> None:
        """Changes the source, and lands what changed."""
        self.measure(["psql", "--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url])
        self.land()

    def land(self) -> None:
        self.measure([self.acequia, "run", "--config", "engine.toml"])

    def replay(self, destination: str) -> tuple[float, float]:
        return self.measure([self.acequia, "replay", "--config", f"{destination}.toml", "--destination", destination])


def main() -> None:
    acequia, url, rows, engine = sys.argv[1], sys.argv[2].split()[0], int(sys.argv[3]), sys.argv[4]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(str(Path(acequia).resolve()), url, folder)
        bench.land()
        print(f"{rows} rows{'':20}{engine:>8}{'MiB':>6}{'duckdb':>8}{'MiB':>6}")

        def line(what: str) -> None:
            measured = [*bench.replay("engine"), *bench.replay("duckdb")]
            print(f"{what:28}" + "{:8.2f}{:6.0f}{:8.2f}{:6.0f}".format(*measured), flush=True)

        line("first load")
        for every in (100, 10):
            bench.change(f"UPDATE ventas SET precio_total = precio_total + 1 WHERE id % {every} = 0")
            line(f"{rows // every} rows changed")


main()
