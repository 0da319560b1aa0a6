"""`specserve models convert`, with the real converter, and what it makes, served."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file
from servers import running

from specserve.backends.base import ModelSettings
from specserve.backends.local.engine import Sampling
from specserve.backends.openvino.conversion import converted
from specserve.backends.openvino.converter import converter, install_converter
from specserve.backends.openvino.text import OpenVINOText
from specserve.spec.errors import BackendLoadError

TINY = Path(__file__).with_name("tiny.py")
PROMPT = [2, 70, 71, 72, 80, 81, 3]
COUNT = 24
PARTS = {"self_attn.q_proj": (64, 64), "self_attn.v_proj": (32, 64), "mlp.down_proj": (64, 96)}


@pytest.fixture(scope="session")
def python():
    """The converter's interpreter, installed as `models convert` installs it, unless it is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONSTRAINT", os.environ["SPECSERVE_TEST_CONVERT"])
        return str(converter() or install_converter())


@pytest.fixture(scope="session")
def llama(python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    subprocess.run([python, TINY, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def fp16(llama):
    return converted(llama, "fp16")


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    """As PEFT writes it, with random matrices."""
    folder = tmp_path_factory.mktemp("adapter")
    random = np.random.default_rng(0)
    matrices = {}
    for name, (rows, columns) in PARTS.items():
        layer = f"base_model.model.model.layers.1.{name}"
        matrices[f"{layer}.lora_A.weight"] = random.normal(0, 0.3, (4, columns)).astype(np.float32)
        matrices[f"{layer}.lora_B.weight"] = random.normal(0, 0.3, (rows, 4)).astype(np.float32)
    save_file(matrices, folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": list(PARTS)}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return folder


def convert(*arguments):
    command = [sys.executable, "-m", "specserve", "models", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def reference(python, *arguments):
    """What transformers makes of the prompt, greedily."""
    model, *adapter = arguments
    command = [python, TINY, model, json.dumps(PROMPT), str(COUNT), *adapter]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def greedy(source, **options):
    """What the engine makes of it, and what else it can."""

    async def ask():
        model = OpenVINOText(ModelSettings("m", "openvino", str(source), options=options))
        engine = await model.open_engine()
        try:
            sampling = Sampling(max_tokens=COUNT, temperature=0, ignore_eos=True)
            tokens = [token async for [output] in engine.generate(PROMPT, sampling, 1) for token in output.token_ids]
            return tokens, model.features
        finally:
            await engine.stop()

    return asyncio.run(ask())


def left_over(folder):
    return [path.name for path in folder.iterdir() if ".tmp-" in path.name]


def test_the_command_converts_once_and_prints_where(llama):
    first = convert(llama, "--weight-format", "int4")
    assert first.returncode == 0, first.stderr
    made = Path(first.stdout.strip())
    written = (made / "openvino_model.xml").stat().st_mtime_ns
    assert (made / "tokenizer.json").exists()
    again = convert(llama, "--weight-format", "int4")
    assert (again.stdout, again.stderr) == (first.stdout, "")
    assert (made / "openvino_model.xml").stat().st_mtime_ns == written
    assert left_over(made.parent) == []
    assert len(greedy(made)[0]) == COUNT


def test_a_directory_is_converted_on_first_use_and_answers_as_before(python, llama):
    config = llama.parent / "specserve.toml"
    config.write_text(f"[[models]]\nid = 'tiny'\nsource = '{llama}'\noptions = {{ weight_format = 'fp16' }}\n")
    with running("--config", str(config), "--validate-responses") as server, server.client() as client:
        assert any("converting" in line for line in server.output)
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "fox"}], "max_tokens": 8}
        answer = client.post("/v1/chat/completions", json=asked)
        assert (answer.status_code, answer.json()["usage"]["prompt_tokens"]) == (httpx.codes.OK, 5)
    assert greedy(llama, weight_format="fp16")[0] == reference(python, llama)


def test_an_adapter_counts_as_it_was_trained(python, llama, fp16, adapter):
    plain, _ = greedy(fp16)
    changed, features = greedy(fp16, adapters=[{"path": str(adapter)}])
    assert changed == reference(python, llama, adapter) != plain
    assert "top_logprobs" not in features
    assert greedy(fp16, adapters=[{"path": str(adapter), "alpha": 0}])[0] == plain


def test_an_adapter_for_another_model_stops_the_start(fp16, adapter, tmp_path):
    shapes = {"lora_A": (4, 64), "lora_B": (64, 4)}
    layer = "base_model.model.model.layers.7.self_attn.q_proj"
    save_file(
        {f"{layer}.{name}.weight": np.ones(shape, np.float32) for name, shape in shapes.items()},
        tmp_path / "other.safetensors",
    )
    with pytest.raises(BackendLoadError, match=r"layers\.7\.self_attn\.q_proj', which this model does not have"):
        greedy(fp16, adapters=[{"path": str(tmp_path / "other.safetensors")}])


def test_what_is_interrupted_leaves_nothing_that_counts(llama, tmp_path):
    target = tmp_path / "made" / "int8"
    command = [sys.executable, "-m", "specserve", "models", "convert", str(llama), "--output", str(target)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert "converting" in process.stderr.readline()
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    process.stderr.close()
    assert list(target.parent.iterdir()) == []
    assert convert(llama, "--output", target).stdout.strip() == str(target)
    assert greedy(target)[0]


def test_a_model_that_cannot_be_converted_is_one_line(llama, tmp_path):
    for file in llama.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unheard-of", "architectures": ["No"]}))
    failed = convert(tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "unheard-of" in failed.stderr.splitlines()[-1]
