"""Times whole processes in turns: acequia, DuckDB's postgres extension, and a client that drains COPY. See against_duckdb.sh."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIGURATION = """
[pipeline]
name = "bench"
dataset = "replica"
destination = "duckdb"
[destinations.duckdb]
kind = "duckdb"
path = "bench.duckdb"
[sources.operativa]
kind = "postgres"
url = "{url}"
reader = "{reader}"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "full"
{lanes}
"""

EXTENSION = """
import duckdb, duckdb_extension_postgres_scanner as package, pathlib, sys
found = next(pathlib.Path(package.__file__).parent.rglob("*.duckdb_extension"))
connection = duckdb.connect("bench.duckdb", config={"allow_unsigned_extensions": "true"})
connection.execute(f"LOAD '{found}'")
connection.execute(f"ATTACH '{sys.argv[1]}' AS source (TYPE postgres, READ_ONLY)")
connection.execute("CREATE TABLE ventas AS SELECT * FROM source.public.ventas")
connection.close()
"""


def measure(command: list[str], files: dict[str, str]) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, and MiB resident at most."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text)
        before = os.times()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        after = os.times()
        if status != 0:
            sys.exit(f"{command[0]} failed with status {status}")
        return after.elapsed - before.elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    acequia, url, rounds = str(Path(sys.argv[1]).resolve()), sys.argv[2], int(sys.argv[3])
    run = [acequia, "run", "--output", "json"]

    def configured(reader: str, lanes: str = "") -> dict[str, str]:
        return {"acequia.toml": CONFIGURATION.format(url=url, reader=reader, lanes=lanes)}

    contenders = {
        "DuckDB's extension": ([sys.executable, "-c", EXTENSION, url], {}),
        "acequia": (run, configured("copy")),
        "acequia, one lane": (run, configured("copy", "parallel = 1")),
        "acequia, connectorx": (run, configured("connectorx")),
    }
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (command, files) in contenders.items():
            results[name].append(measure(command, files))
    middles = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}
    reference = middles["DuckDB's extension"]
    print(f"{'':24}{'seconds':>10}{'ratio':>8}{'CPU s':>10}{'ratio':>8}{'MiB':>8}")
    for name, (seconds, processor, resident) in middles.items():
        print(
            f"{name:24}{seconds:10.2f}{seconds / reference[0]:8.2f}"
            f"{processor:10.2f}{processor / reference[1]:8.2f}{resident:8.0f}"
        )


if __name__ == "__main__":
    main()
