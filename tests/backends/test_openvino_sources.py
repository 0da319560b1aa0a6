"""What is refused before anything is opened: models for a converter that is not there."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from specserve.backends.base import ModelSettings
from specserve.backends.errors import BackendLoadError
from specserve.backends.openvino import open_model
from specserve.backends.openvino.text import OpenVINOText
from specserve.models_cli import models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def llama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What looks like a model of Hugging Face, on a machine without a converter."""
    monkeypatch.setenv("SPECSERVE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"weight": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return folder


def test_without_a_converter_the_error_names_the_command(llama: Path) -> None:
    model = open_model(ModelSettings("m", "openvino", str(llama)))
    assert isinstance(model, OpenVINOText)
    with pytest.raises(BackendLoadError, match=f"specserve models convert {llama}"):
        asyncio.run(model.open_engine())


def test_pickled_weights_are_not_converted(llama: Path) -> None:
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    with pytest.raises(BackendLoadError, match="safetensors"):
        open_model(ModelSettings("m", "openvino", str(llama)))
    refused = CliRunner().invoke(models, ["convert", str(llama)])
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_a_converter_that_cannot_be_installed_leaves_nothing(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(llama))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    failed = CliRunner().invoke(models, ["convert", str(llama)])
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.splitlines()[-1].startswith("Error: pip could not install optimum-intel")
    assert [path.name for path in (llama.parent / "home").iterdir()] == [".converter.lock"]
