"""A PostgreSQL with the company's schema, for all tests, and a pipeline in a folder of each test's own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PIPELINE = """
[pipeline]
name = "formacion"
dataset = "replica"
destination = "duckdb"
[destinations.duckdb]
kind = "duckdb"
path = "formacion.duckdb"
[sources.operativa]
kind = "postgres"
url = "${OPERATIVA_URL}"
[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Its URL. The server ends with its standard input."""
    command = [os.environ["TESTKIT"], "serve", "--ventas", "2000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield process.stdout.readline().split()[0]
        process.stdin.close()


@pytest.fixture
def pipeline(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration's path; the process stands in its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPERATIVA_URL", server)
    (tmp_path / "acequia.toml").write_text(PIPELINE)
    return tmp_path / "acequia.toml"
