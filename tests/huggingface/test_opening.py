"""What can be opened, and what is said of the rest."""

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import tiny_models
import torch

from specserve.backends.base import ModelSettings, Precision
from specserve.backends.huggingface import open_model
from specserve.backends.local.engine import Sampling
from specserve.spec.errors import BackendLoadError

PROMPT = [0, 40, 55, 63, 71, 88, 102]
GREEDY = Sampling(max_tokens=24, temperature=0, ignore_eos=True)


def settings(source, **options):
    return ModelSettings("m", "huggingface", str(source), options={"num_threads": 1, **options})


def greedy(source, prompt=PROMPT, **options):
    """The greedy answer of a model that is opened for this, and the engine's process's words."""

    async def ask():
        backend = open_model(settings(source, **options))
        try:
            await backend.start()
            steps = backend._inner.engine.generate(prompt, GREEDY, 1)
            return [token async for step in steps for output in step for token in output.token_ids]
        finally:
            await backend.stop()

    return asyncio.run(ask())


def test_a_cache_that_is_too_small_for_all_makes_some_wait_and_begin_again(models):
    prompts = [[0, *range(start, start + 20)] for start in range(10, 130, 10)]
    long = replace(GREEDY, max_tokens=90)

    async def ask():
        backend = open_model(settings(models / "llama", paged=True, cache_size_gb=0.0003))
        await backend.start()
        engine = backend._inner.engine

        async def one(prompt):
            return [token async for step in engine.generate(prompt, long, 1) for out in step for token in out.token_ids]

        try:
            return engine._supervisor.worker.ready["capacity"], await asyncio.gather(*map(one, prompts))
        finally:
            await backend.stop()

    room, got = asyncio.run(ask())
    assert 512 < room < len(prompts) * (21 + 90) / 2
    model = tiny_models.causal(models / "llama")
    for prompt, ids in zip(prompts, got, strict=True):
        assert ids == tiny_models.generated(model, prompt, 90, eos_token_id=None)


def reference(model):
    return tiny_models.generated(model, PROMPT, 24, eos_token_id=None)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("", {}, "has no source"),
        ("/nowhere", {}, "there is no file or directory"),
        ("hf:nothing", {}, "hf:org/name"),
        ("hf:../../etc", {}, "hf:org/name"),
        (__file__, {}, "not a .gguf file"),
        ("{models}", {}, "has no config.json"),
        ("{models}/llama", {"dytpe": "float32"}, "there is no option 'dytpe'"),
        ("{models}/llama", {"dtype": "float8"}, "option 'dtype'"),
        ("{models}/llama", {"cache_size_gb": 0}, "option 'cache_size_gb'"),
        ("{models}/llama", {"trust_remote_code": "yes"}, "option 'trust_remote_code'"),
    ],
)
def test_what_cannot_be_is_refused_when_the_model_is_described(models, source, options, message):
    with pytest.raises(BackendLoadError, match=message):
        open_model(settings(source.format(models=models), **options))


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({}, Precision("f32", "f32")),
        ({"precision": "fast"}, Precision("f32", "f32")),  # auto, which is float32 on a CPU
        ({"dtype": "bfloat16"}, Precision("bf16", "bf16")),
        ({"precision": "fast", "dtype": "float16"}, Precision("f16", "f16")),
    ],
)
def test_a_model_computes_exactly_unless_told_otherwise_and_says_so(models, run, options, precision):
    model = open_model(settings(models / "llama", device="cpu", num_threads=1, **options))
    run(model.start())
    try:
        assert model.capabilities.precision == precision
        assert precision.exact == (precision.compute == "f32")
    finally:
        run(model.stop())


def test_an_embedding_model_says_that_it_computes_exactly(models, run):
    model = open_model(settings(models / "bert-mean", device="cpu", num_threads=1))
    run(model.start())
    try:
        assert model.capabilities.precision == Precision("f32", None)
    finally:
        run(model.stop())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int4"}, "needs a GPU"),
        ({"device": "cuda:7"}, "there is no device 'cuda:7'"),
        ({"adapters": ["/nowhere"]}, "is no adapter"),
        ({"paged": True, "attn_implementation": "eager"}, "no paged form"),
    ],
)
def test_what_cannot_be_done_here_fails_the_start_with_its_cause(models, options, message):
    if torch.cuda.is_available():
        pytest.skip("this machine can do more")
    with pytest.raises(BackendLoadError, match=message):
        greedy(models / "llama", **options)


def test_damaged_weights_fail_the_start(models, tmp_path):
    shutil.copytree(models / "llama", tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BackendLoadError, match="transformers cannot open"):
        greedy(tmp_path / "damaged")


def test_code_that_comes_with_a_model_is_not_run(models, tmp_path):
    shutil.copytree(models / "llama", tmp_path / "custom")
    config = json.loads((tmp_path / "custom" / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"}}
    (tmp_path / "custom" / "config.json").write_text(json.dumps(config))
    (tmp_path / "custom" / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    with pytest.raises(BackendLoadError):
        greedy(tmp_path / "custom")
    assert not (tmp_path / "ran").exists()


def test_adapters_are_merged_into_the_weights(models, tmp_path):
    import peft

    torch.manual_seed(1)
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, r=4)
    adapted = peft.get_peft_model(tiny_models.causal(models / "llama"), config)
    adapted.save_pretrained(tmp_path / "adapter")
    expected = reference(adapted.merge_and_unload())
    assert expected != reference(tiny_models.causal(models / "llama"))
    assert greedy(models / "llama", adapters=[str(tmp_path / "adapter")]) == expected


def test_a_model_with_a_sliding_window_is_paged_too(models):
    prompt = [(at * 7) % 300 for at in range(90)]
    expected = tiny_models.generated(tiny_models.causal(models / "sliding"), prompt, 24, eos_token_id=None)
    assert greedy(models / "sliding", prompt, paged=True) == expected
    assert greedy(models / "sliding", prompt, paged=False) == expected


def test_eager_attention_and_16_bits_are_served_without_pages(models):
    expected = reference(tiny_models.causal(models / "llama", attn_implementation="eager"))
    assert greedy(models / "llama", attn_implementation="eager") == expected
    assert len(greedy(models / "llama", dtype="bfloat16")) == 24


def test_a_tokenizer_without_tokenizer_json_is_read_by_transformers(tmp_path, models):
    shutil.copytree(models / "opt", tmp_path / "old")
    trained = json.loads((tmp_path / "old" / "tokenizer.json").read_text())
    (tmp_path / "old" / "tokenizer.json").unlink()
    (tmp_path / "old" / "vocab.json").write_text(json.dumps(trained["model"]["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in trained["model"]["merges"])
    (tmp_path / "old" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    about = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>"}
    (tmp_path / "old" / "tokenizer_config.json").write_text(json.dumps(about))

    async def ids():
        backend = open_model(settings(tmp_path / "old"))
        await backend.start()
        try:
            return backend._inner.engine.tokenizer.encode("the quick brown", add_special_tokens=False)
        finally:
            await backend.stop()

    tokenizer = tiny_models.transformers.AutoTokenizer.from_pretrained(models / "opt")
    assert asyncio.run(ids()) == tokenizer("the quick brown", add_special_tokens=False)["input_ids"]


def test_a_repository_of_the_hub_is_taken_from_its_cache(models, tmp_path, monkeypatch):
    folder = tmp_path / "hub" / "models--mine--tiny"
    shutil.copytree(models / "llama", folder / "snapshots" / ("0" * 40))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    script = (
        "import sys; from specserve.backends.huggingface import source; import threading\n"
        "print(source.resolve(sys.argv[1], code=False, abandon=threading.Event()))"
    )
    environ = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    assert python(script, "hf:mine/tiny", env=environ).stdout.strip() == str(folder / "snapshots" / ("0" * 40))
    absent = python(script, "hf:mine/other", env=environ)
    assert "BackendLoadError: hf:mine/other cannot be fetched from the hub" in absent.stderr


def python(script, *arguments, **options):
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)


def test_a_missing_library_is_named_in_one_line(models):
    script = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from specserve.cli.main import main\n"
        f"sys.argv = ['specserve', 'serve', '--port', '0', '--model', 'huggingface:{models}/llama']; main()"
    )
    done = python(script)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("pip install 'specserve[huggingface]'")
