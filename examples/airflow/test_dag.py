"""The DAG under the real Airflow, by its own command, against a real PostgreSQL: see scripts/examples_test.sh."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

DAGS = Path(__file__).parent / "dags"


@pytest.fixture
def airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command of an Airflow of its own."""
    variables = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        for name, value in (more or {}).items():
            monkeypatch.setenv(name, value)
        return subprocess.run(["airflow", *arguments], capture_output=True, text=True, check=False)

    assert run("db", "migrate").returncode == 0
    return run


def test_a_run_of_the_dag_loads_and_one_that_cannot_run_says_why(airflow, pipeline: Path) -> None:
    imported = airflow("dags", "list-import-errors")
    assert "No data found" in imported.stdout, imported.stdout + imported.stderr
    done = airflow("dags", "test", "formacion", more={"ACEQUIA_CONFIG": str(pipeline)})
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "'ventas': 2000" in said or '"ventas": 2000' in said, said
    assert (pipeline.parent / "formacion.duckdb").is_file()

    pipeline.write_text(pipeline.read_text().replace("public.cursos", "public.curso"))
    failed = airflow("dags", "test", "formacion")
    said = failed.stdout + failed.stderr
    assert "there is no table or view" in said, said
    assert failed.returncode != 0, said
