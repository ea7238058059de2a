"""Times whole processes of acequia. See figures.sh."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WHAT, TARGET = sys.argv[1], Path(sys.argv[2])
ROWS = int(os.environ.get("ROWS", 5_000_000))
ROUNDS = int(os.environ.get("ROUNDS", 5))
HEAD = """
[pipeline]
name = "bench"
dataset = "replica"
destination = "{destination}"
[destinations.duckdb]
kind = "duckdb"
path = "bench.duckdb"
[destinations.almacen]
kind = "postgres"
url = "{url}"
"""
SOURCE = """
[sources.operativa]
kind = "postgres"
url = "{url}"
"""
VENTAS = """
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "{mode}"
"""


class Server:
    """A server of the test kit; it ends when its standard input does."""

    def __init__(self, *arguments: str) -> None:
        command = [TARGET / "testkit", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[0]

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(command: list[str], folder: str) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, and MiB resident at most."""
    before = os.times()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command} failed with status {status}")
    return os.times().elapsed - before.elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def run(folder: str, *arguments: str) -> tuple[float, float, float]:
    return measure([str(TARGET / "acequia"), "run", "--output", "json", *arguments], folder)


def psql(url: str, *statements: str) -> str:
    command = ["psql", "--no-psqlrc", "-qAtX", "-v", "ON_ERROR_STOP=1", url]
    for statement in statements:
        command += ["-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def configure(folder: str, *parts: str) -> None:
    Path(folder, "acequia.toml").write_text("".join(parts))


def other(url: str, database: str) -> str:
    return url.replace("/formacion", f"/{database}")


def serve(rows: int) -> Server:
    return Server("serve", "--ventas", str(rows), "--participantes", "1", "--actividades", "1")


def show(name: str, rows: list[tuple[float, float, float]], reference: float | None = None) -> float:
    seconds, processor, resident = (statistics.median(column) for column in zip(*rows))
    ratio = f"{seconds / reference:8.2f}" if reference else " " * 8
    print(f"{name:44}{seconds:9.2f} s{ratio}{processor:9.2f} CPU s{resident:8.0f} MiB", flush=True)
    return seconds


def postgres() -> None:
    with serve(ROWS) as server, tempfile.TemporaryDirectory() as folder:
        psql(server.url, "CREATE DATABASE almacen", "CREATE DATABASE copia")
        rows = Path(folder, "ventas.bin")
        psql(server.url, f"\\copy ventas TO '{rows}' (FORMAT binary)")
        head = HEAD.format(destination="almacen", url=other(server.url, "almacen"))
        # A load with `pre_sql` begins when all is landed; without, while the source is read.
        settings = {"acequia, from the source": "", "acequia, loaded once all is landed": 'pre_sql = ["SELECT 1"]\n'}
        copies, runs = [], {name: [] for name in settings}
        for _ in range(ROUNDS):
            psql(other(server.url, "copia"), "DROP TABLE IF EXISTS ventas")
            columns = psql(
                server.url,
                "SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)"
                " FROM pg_attribute WHERE attrelid = 'ventas'::regclass AND attnum > 0",
            )
            psql(other(server.url, "copia"), f"CREATE TABLE ventas ({columns})", "CHECKPOINT")
            command = ["psql", "-qX", other(server.url, "copia"), "-c", f"\\copy ventas FROM '{rows}' (FORMAT binary)"]
            copies.append(measure(command, folder))
            for name, setting in settings.items():
                configure(folder, head, SOURCE.format(url=server.url), VENTAS.format(mode="full") + setting)
                psql(other(server.url, "almacen"), "DROP SCHEMA IF EXISTS replica CASCADE", "CHECKPOINT")
                runs[name].append(run(folder))
        reference = show("psql \\copy from a file", copies)
        for name, measured in runs.items():
            show(name, measured, reference)


def idle() -> None:
    with serve(ROWS) as server, tempfile.TemporaryDirectory() as folder:
        psql(server.url, "CREATE INDEX ON ventas (updated_at)")
        cursor = VENTAS.format(mode="incremental") + 'cursor = "updated_at"\n'
        configure(folder, HEAD.format(destination="duckdb", url=server.url), SOURCE.format(url=server.url), cursor)
        show("everything, merged by key", [run(folder)])
        psql(server.url, "INSERT INTO ventas SELECT * FROM ventas WHERE false", "SELECT txid_current()")
        run(folder)
        show("nothing new", [run(folder) for _ in range(max(ROUNDS, 11))])


def memory() -> None:
    for rows in (ROWS, 10 * ROWS):
        with serve(rows) as server, tempfile.TemporaryDirectory() as folder:
            for destination in ("duckdb", "almacen"):
                psql(server.url, "DROP DATABASE IF EXISTS almacen", "CREATE DATABASE almacen")
                head = HEAD.format(destination=destination, url=other(server.url, "almacen"))
                configure(folder, head, SOURCE.format(url=server.url), VENTAS.format(mode="full"))
                show(f"{rows:,} ventas into {destination}", [run(folder)])


def changes() -> None:
    with serve(1) as server, tempfile.TemporaryDirectory() as folder:
        psql(server.url, "CREATE TABLE t (id int8 PRIMARY KEY, n int4, texto text, creado timestamptz DEFAULT now())")
        stream = '[streams.t]\nsource = "operativa"\ntable = "public.t"\nmode = "cdc"\n'
        configure(folder, HEAD.format(destination="duckdb", url=server.url), SOURCE.format(url=server.url), stream)
        run(folder)
        psql(server.url, "SELECT pg_create_logical_replication_slot('testigo', 'pgoutput')")
        publication = psql(server.url, "SELECT pubname FROM pg_publication")
        begins = 0
        paces = []
        for thousands in (1_000, 1_000, 8_000):
            log = psql(server.url, "SELECT pg_current_wal_lsn()")
            insert = (
                "DO $$ BEGIN FOR i IN 0..{} LOOP INSERT INTO t SELECT {} + i * 1000 + j, j, repeat('x', 60), now()"
                " FROM generate_series(1, 1000) j; COMMIT; END LOOP; END $$"
            )
            psql(server.url, insert.format(thousands - 1, begins))
            begins += thousands * 1000
            mebibytes = int(float(psql(server.url, f"SELECT (pg_current_wal_lsn() - '{log}') / 1048576")))
            peek = (
                "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('testigo', NULL, NULL, 'proto_version', '1',"
                f" 'publication_names', '{publication}')"
            )
            name = f"{thousands:,} thousand changes, {mebibytes} MiB of log"
            peeks = [] if thousands > 1_000 else [measure(["psql", "-qAtX", server.url, "-c", peek], folder)]
            reference = show("the server counts " + name, peeks) if peeks else None
            psql(server.url, "SELECT pg_replication_slot_advance('testigo', pg_current_wal_lsn())")
            seconds = show("acequia loads " + name, [run(folder)], reference)
            paces.append(thousands * 1000 / seconds)
        print(f"{paces[1]:,.0f} and {paces[2]:,.0f} changes a second: ratio {paces[1] / paces[2]:.2f}")


def hubspot() -> None:
    companies, properties = os.environ.get("COMPANIES", "250000"), os.environ.get("PROPERTIES", "200")
    server = Server("hubspot", "--companies", companies, "--properties", properties, "--window", "100000")
    with server, tempfile.TemporaryDirectory() as folder:
        source = f'[sources.crm]\nkind = "hubspot"\nbase_url = "{server.url}"\ntoken = "${{TOKEN}}"\n'
        stream = '[streams.companies]\nsource = "crm"\nobject = "companies"\nmode = "full"\n'
        configure(folder, HEAD.format(destination="duckdb", url=server.url), source, stream)
        os.environ["TOKEN"] = "pat-eu1-acequia-prueba"
        show(f"{companies} companies of {properties} properties", [run(folder)])


{"postgres": postgres, "idle": idle, "memory": memory, "changes": changes, "hubspot": hubspot}[WHAT]()
