"""What we rely on of OpenVINO and OpenVINO GenAI beyond their documentation; see `backends/openvino/seams.py`.

A test that fails here after an upgrade says what the new version does otherwise.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai
import pytest
import tiny_gguf
from gguf import GGMLQuantizationType as Kind

from specserve.backends.openvino import seams
from specserve.backends.openvino.gguf_weights import _tables
from specserve.backends.openvino.vocabulary import engine_tokenizer

PIECES = [bytes([byte]) for byte in range(tiny_gguf.TOKENS)]
VOCABULARY = {"bytes": base64.b64encode(b"".join(PIECES)).decode(), "lengths": [1] * len(PIECES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as the engine saves it from a GGUF file."""
    made = tmp_path_factory.mktemp("made")
    tiny_gguf.write(made / "tiny.gguf", Kind.Q4_1)
    tokenizer, _ = engine_tokenizer(VOCABULARY, made / seams.MODEL)
    seams.save_gguf(made / "tiny.gguf", tokenizer)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> ov.Model:
    return ov.Core().read_model(folder / seams.MODEL)


def pipeline(folder: Path, **properties: Any) -> openvino_genai.ContinuousBatchingPipeline:
    tokenizer, _ = engine_tokenizer(VOCABULARY, folder / seams.MODEL)
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    return openvino_genai.ContinuousBatchingPipeline(folder, tokenizer, scheduler, "CPU", **properties)


def config(**fields: Any) -> openvino_genai.GenerationConfig:
    made = openvino_genai.GenerationConfig()
    made.set_eos_token_id(0)
    for name, value in {"max_new_tokens": 4, "ignore_eos": True, "do_sample": False, **fields}.items():
        setattr(made, name, value)
    return made


def run(engine: openvino_genai.ContinuousBatchingPipeline, **fields: Any) -> tuple[list[int], str]:
    handle = engine.add_request(0, ov.Tensor(np.array([[3, 4, 5]], dtype=np.int64)), config(**fields))
    tokens, end = [], ""
    while engine.has_non_finished_requests():
        engine.step()
        while handle.can_read():
            for output in handle.read().values():
                assert len(output.generated_log_probs) == len(output.generated_ids)
                tokens += output.generated_ids
                end = output.finish_reason.name
    assert handle.get_status().name == "FINISHED"
    return tokens, end


def test_a_device_that_does_not_exist_is_found_out_after_the_model_is_saved(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"tiny.gguf", "openvino_model.xml", "openvino_model.bin"}


def test_a_language_model_has_state_one_output_and_the_inputs_that_the_scorer_feeds(model: ov.Model) -> None:
    assert len(seams.states_of(model)) == 2 * 2  # keys and values of two layers
    assert len(model.outputs) == 1
    assert model.output(seams.LOGITS).get_partial_shape()[-1].get_length() == tiny_gguf.TOKENS
    assert seams.logits_of(model).get_partial_shape().rank.get_length() == 3
    assert {name for port in model.inputs for name in port.names} <= set(seams.INPUTS)


def test_rounded_weights_are_a_product_of_a_difference(model: ov.Model) -> None:
    assert len(list(_tables(model))) == 2 * len(tiny_gguf.SHAPES) + 1


def test_the_engine_finds_the_bytes_of_its_tokens_behind_the_node_of_that_name(folder: Path) -> None:
    grammar = openvino_genai.StructuredOutputConfig(grammar='root ::= "AB" "C"')
    tokens, end = run(pipeline(folder), structured_output_config=grammar, ignore_eos=False, stop_token_ids={0})
    assert b"".join(PIECES[token] for token in tokens if token).startswith(b"ABC")
    assert end in {"STOP", "LENGTH"}


def test_the_handle_tells_tokens_their_log_probabilities_and_the_end(folder: Path) -> None:
    tokens, end = run(pipeline(folder), logprobs=1)
    assert (len(tokens), end) == (4, "LENGTH")


def test_the_metrics_are_those_that_the_worker_reads(folder: Path) -> None:
    engine = pipeline(folder)
    handle = engine.add_request(0, ov.Tensor(np.array([[3] * 100], dtype=np.int64)), config())
    engine.step()
    metrics = engine.get_metrics()
    assert metrics.requests == metrics.scheduled_requests == 1
    assert 0 < metrics.cache_usage < 100  # a percentage
    handle.cancel()
    engine.step()
    assert not engine.has_non_finished_requests()


@pytest.mark.parametrize("name", ["f32", "u8", "f16"])
def test_the_properties_of_precision_are_taken_for_what_they_say(folder: Path, name: str) -> None:
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "KV_CACHE_PRECISION": name,
        "KEY_CACHE_QUANT_MODE": "BY_TOKEN",
    }
    compiled = ov.Core().compile_model(folder / seams.MODEL, "CPU", properties)
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0
    assert compiled.get_property("KV_CACHE_PRECISION").get_type_name() == name
    assert run(pipeline(folder, **properties))[1] == "LENGTH"
