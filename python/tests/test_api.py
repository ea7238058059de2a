"""The functions, against a real server and the DuckDB that they fill."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import acequia
import duckdb
import pytest


def test_a_run_tells_what_it_did_and_its_rows_are_those_of_the_table(pipeline: Path) -> None:
    report = acequia.run(pipeline)
    assert report.ok and [stream.stream for stream in report] == ["cursos", "ventas"]
    ventas = report["ventas"]
    assert (ventas.mode, ventas.rows_extracted, ventas.inserted) == ("incremental", 2000, 2000)
    rows = ventas.arrow()
    with acequia.connect(pipeline) as connection:
        expected = connection.execute("SELECT count(*), sum(id) FROM ventas").fetchone()
    assert (rows.num_rows, sum(rows.column("id").to_pylist())) == expected
    with pytest.raises(KeyError):
        report["clientes"]


def test_a_run_with_nothing_new_has_no_rows_to_show(pipeline: Path) -> None:
    acequia.run(pipeline, "ventas")
    again = acequia.run(pipeline, ["ventas"])["ventas"]
    assert (again.status, again.rows_extracted, again.load_id) == ("ok", 0, None)
    with pytest.raises(LookupError, match="ventas"):
        again.arrow()


def test_a_range_is_read_once_more_and_replaced(pipeline: Path) -> None:
    acequia.run(pipeline, "ventas")
    with duckdb.connect(str(pipeline.parent / "formacion.duckdb")) as connection:
        connection.execute("UPDATE replica.ventas SET precio_total = -1")
    ventas = acequia.run(pipeline, "ventas", range_from=datetime(1900, 1, 1, tzinfo=timezone.utc))["ventas"]
    assert (ventas.rows_extracted, ventas.updated) == (2000, 2000)
    ventas = acequia.run(pipeline, "ventas", range_column="id", range_from=-5, range_to=11)["ventas"]
    assert (ventas.rows_extracted, ventas.updated) == (10, 0)
    with pytest.raises(acequia.ConfigError, match="read in full by each run"):
        acequia.run(pipeline, range_to="2024-01-01T00:00:00Z")


def test_status_tells_how_far_each_stream_is(pipeline: Path) -> None:
    before = acequia.status(pipeline)
    assert before["ventas"].loaded_at is None and (before.kind, before.dataset) == ("duckdb", "replica")
    acequia.run(pipeline, "ventas")
    after = acequia.status(pipeline)
    loaded_at = after["ventas"].loaded_at
    assert loaded_at is not None and abs(datetime.now(timezone.utc) - loaded_at) < timedelta(minutes=5)
    assert after["cursos"].loaded_at is None
    assert after.path == pipeline.parent / "formacion.duckdb"


def test_a_stream_that_fails_raises_with_the_report(pipeline: Path) -> None:
    broken = pipeline.read_text().replace("public.cursos", "public.no_such_table")
    pipeline.write_text(broken)
    with pytest.raises(acequia.RunFailed, match="no_such_table") as raised:
        acequia.run(pipeline)
    report = raised.value.report
    assert (report["cursos"].status, report["ventas"].status) == ("failed", "ok")
    assert acequia.run(pipeline, "cursos", raises=False)["cursos"].error is not None
    failure = acequia.status(pipeline)["cursos"].failure
    assert failure is not None and failure.runs == 2 and "no_such_table" in failure.error


def test_models_that_fail_raise_with_what_failed(pipeline: Path) -> None:
    models = pipeline.parent / "models"
    models.mkdir()
    (models / "total.sql").write_text("-- not_null: nada\nSELECT count(*) AS n, NULL AS nada FROM ventas")
    pipeline.write_text(pipeline.read_text() + '\n[models]\npath = "models"\n')
    with pytest.raises(acequia.RunFailed, match="total: not_null: nada") as raised:
        acequia.run(pipeline)
    assert raised.value.report["ventas"].status == "ok"
    (models / "total.sql").write_text("SELECT count(*) AS n FROM ventas")
    assert acequia.run(pipeline).model_failures == []


def test_a_report_page_that_cannot_be_made_raises_with_why(pipeline: Path) -> None:
    parts = pipeline.parent / "report"
    parts.mkdir()
    (parts / "10-mal.sql").write_text("-- title: T\n-- description: D\nSELECT nada FROM ventas")
    pipeline.write_text(pipeline.read_text() + '\n[report]\npath = "report"\n')
    with pytest.raises(acequia.RunFailed, match="the report page: .*10-mal.sql") as raised:
        acequia.run(pipeline)
    assert raised.value.report["ventas"].status == "ok"
    (parts / "10-mal.sql").write_text("-- title: T\n-- description: D\nSELECT count(*) AS n FROM ventas")
    assert acequia.run(pipeline).page_error is None
    assert "<h2" in (pipeline.parent / "report.html").read_text()


def test_a_configuration_that_is_wrong_raises_with_its_remedy(pipeline: Path) -> None:
    with pytest.raises(acequia.ConfigError, match="there is no stream"):
        acequia.run(pipeline, "nope")
    with pytest.raises(acequia.ConfigError, match="missing.toml"):
        acequia.status("missing.toml")


def test_check_tells_what_is_found(pipeline: Path, server: str) -> None:
    report = acequia.check(pipeline)
    assert report.ok and {finding.verdict for finding in report.findings} <= {"ok", "warning"}
    nobody = server.replace("/formacion", "/nowhere")
    with pytest.raises(acequia.CheckFailed, match="nowhere") as raised:
        acequia.check(pipeline, environment={"OPERATIVA_URL": nobody})
    assert not raised.value.report.ok


def test_connect_reads_and_does_not_write(pipeline: Path) -> None:
    with pytest.raises(acequia.AcequiaError, match="run the pipeline first"):
        acequia.connect(pipeline)
    acequia.run(pipeline, "cursos")
    with acequia.connect(pipeline) as connection:
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            connection.execute("DELETE FROM cursos")
