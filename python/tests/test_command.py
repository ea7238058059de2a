"""The command, as a newcomer uses it after `pip install acequia`."""

import subprocess
import sys
from pathlib import Path


def acequia(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["acequia", *arguments], capture_output=True, text=True, check=False)


def test_init_check_and_run(tmp_path: Path, server: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert acequia("init").returncode == 0
    refused = acequia("check", "cursos")
    assert refused.returncode == 2 and "OPERATIVA_URL" in refused.stderr, refused.stderr
    (tmp_path / ".env").write_text(f"OPERATIVA_URL={server}\n")
    checked = acequia("check", "cursos", "ventas")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    ran = acequia("run", "cursos", "ventas")
    assert ran.returncode == 0, ran.stderr
    assert "2 of 2 streams loaded" in ran.stdout, ran.stdout
    # A pipeline is named after its folder.
    assert (tmp_path / f"{tmp_path.name}.duckdb").is_file()


def test_the_module_is_the_command(tmp_path: Path) -> None:
    versions = {
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        for command in (["acequia", "--version"], [sys.executable, "-m", "acequia", "--version"])
    }
    assert len(versions) == 1 and versions.pop().startswith("acequia ")
