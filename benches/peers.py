"""Times whole processes that copy a table into DuckDB, in turns: acequia and its peers. See peers.sh."""

import os
import statistics
import sys
from pathlib import Path

import duckdb
from against_duckdb import CONFIGURATION, EXTENSION, measure

DLT = """
import sys, dlt
from dlt.sources.sql_database import sql_table
url, backend = sys.argv[1], sys.argv[2]
options = {"backend_kwargs": {"conn": url}} if backend == "connectorx" else {}
table = sql_table(url.replace("://", "+psycopg2://", 1), "ventas", schema="public", backend=backend, **options)
destination = dlt.destinations.duckdb("bench.duckdb")
pipeline = dlt.pipeline("bench", destination=destination, dataset_name="replica", pipelines_dir=".")
pipeline.run(table, write_disposition="replace")
"""

# Sling runs DuckDB's command, which it would else fetch; so do the extensions that it needs lie in a home of its own.
SLING = """
import os, pathlib, shutil, subprocess, sys
import sling_linux_amd64, duckdb_extension_httpfs, duckdb_extension_json
home = pathlib.Path.cwd() / "home"
extensions = home / ".duckdb/extensions/v1.5.5/linux_amd64"
extensions.mkdir(parents=True)
for package in (duckdb_extension_httpfs, duckdb_extension_json):
    for found in pathlib.Path(package.__file__).parent.rglob("*.duckdb_extension"):
        os.symlink(found, extensions / found.name)
binary = next(pathlib.Path(sling_linux_amd64.__file__).parent.rglob("sling-linux-amd64"))
variables = {"HOME": str(home), "PG": sys.argv[1] + "?sslmode=disable", "DUCK": f"duckdb://{pathlib.Path.cwd()}/bench.duckdb",
             "DUCKDB_PATH": str(pathlib.Path(sys.executable).parent / "duckdb"), "SLING_DISABLE_TELEMETRY": "true"}
subprocess.run([binary, "run", "--src-conn", "PG", "--src-stream", "public.ventas", "--tgt-conn", "DUCK", "--tgt-object", "main.ventas",
                "--mode", "full-refresh"], env={**os.environ, **variables}, check=True, capture_output=True)
"""


def main() -> None:
    acequia, url, rounds = str(Path(sys.argv[1]).resolve()), sys.argv[2], int(sys.argv[3])
    python = sys.executable
    os.environ["DLT_TELEMETRY"] = "false"
    configuration = CONFIGURATION.format(url=url, reader="copy", lanes="")
    contenders = {
        "DuckDB's extension": ([python, "-c", EXTENSION, url], {}),
        "acequia": ([acequia, "run", "--output", "json"], {"acequia.toml": configuration}),
        "dlt, connectorx": ([python, "-c", DLT, url, "connectorx"], {}),
        "dlt, pyarrow": ([python, "-c", DLT, url, "pyarrow"], {}),
        "Sling": ([python, "-c", SLING, url], {}),
    }
    if sys.argv[4:] == ["default"]:
        contenders = {"acequia": contenders["acequia"], "dlt, its default": ([python, "-c", DLT, url, "sqlalchemy"], {})}
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (command, files) in contenders.items():
            results[name].append(measure(command, files))
    with duckdb.connect(config={"allow_unsigned_extensions": "true"}) as connection:
        rows = count(connection, url)
    middles = {name: [statistics.median(column) for column in zip(*of)] for name, of in results.items()}
    reference = next(iter(middles.values()))
    print(f"{rows:,} rows\n{'':24}{'seconds':>10}{'rows/s':>14}{'ratio':>8}{'CPU s':>10}{'ratio':>8}")
    for name, (seconds, processor, _) in middles.items():
        print(
            f"{name:24}{seconds:10.2f}{rows / seconds:14,.0f}{seconds / reference[0]:8.2f}"
            f"{processor:10.2f}{processor / reference[1]:8.2f}"
        )


def count(connection: duckdb.DuckDBPyConnection, url: str) -> int:
    import duckdb_extension_postgres_scanner as package

    found = next(Path(package.__file__).parent.rglob("*.duckdb_extension"))
    connection.execute(f"LOAD '{found}'")
    connection.execute(f"ATTACH '{url}' AS source (TYPE postgres, READ_ONLY)")
    return int(connection.execute("SELECT count(*) FROM source.public.ventas").fetchone()[0])


if __name__ == "__main__":
    main()
