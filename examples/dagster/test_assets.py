"""The assets under the real Dagster, by its own command, against a real PostgreSQL: see scripts/examples_test.sh."""

import subprocess
from pathlib import Path

import duckdb
import pytest

DEFINITIONS = Path(__file__).parent / "definitions.py"


@pytest.fixture
def dagster(tmp_path: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command of a Dagster of its own."""
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("ACEQUIA_CONFIG", str(pipeline))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["dagster", *arguments, "-f", str(DEFINITIONS)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def materialize(dagster, select: str) -> tuple[int, str]:
    done = dagster("asset", "materialize", "--select", select)
    return done.returncode, done.stdout + done.stderr


def loads(folder: Path) -> list[str]:
    """The streams of all loads, in their order."""
    with duckdb.connect(str(folder / "formacion.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT stream FROM replica._acequia_loads ORDER BY loaded_at, stream").fetchall()
    return [stream for (stream,) in rows]


def test_each_stream_is_an_asset_and_a_selection_is_one_run(dagster, pipeline: Path) -> None:
    assert sorted(dagster("asset", "list").stdout.split()) == ["replica/cursos", "replica/ventas"]
    status, said = materialize(dagster, "*")
    assert status == 0, said
    assert sorted(loads(pipeline.parent)) == ["cursos", "ventas"]

    status, said = materialize(dagster, "replica/cursos")
    assert status == 0, said
    assert sorted(loads(pipeline.parent)) == ["cursos", "cursos", "ventas"]


def test_a_stream_that_fails_fails_the_step_with_its_remedy_and_the_others_are_materialized(dagster, pipeline: Path) -> None:
    pipeline.write_text(pipeline.read_text().replace("public.ventas", "public.venta"))
    # Without waiting for another try.
    definitions = DEFINITIONS.read_text()
    assert "max_retries=2" in definitions
    here = pipeline.parent / "definitions.py"
    here.write_text(definitions.replace("max_retries=2", "max_retries=0"))
    command = ["dagster", "asset", "materialize", "--select", "*", "-f", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "there is no table or view" in said, said
    assert 'Materialized value replica cursos' in said or "ASSET_MATERIALIZATION" in said, said
    assert loads(pipeline.parent) == ["cursos"]
