from __future__ import annotations

import asyncio
import base64
import math
import struct
from typing import Any

import pytest

from specserve.backends.base import ModelSettings
from specserve.backends.echo import Echo, EchoTokenizer
from specserve.generated.models import CreateEmbeddingRequest
from specserve.spec.errors import ContextLengthExceeded, InvalidRequest


def embed(value: Any, **parameters: Any) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        request = CreateEmbeddingRequest.model_validate({"model": "parrot", "input": value} | parameters)
        backend = Echo(ModelSettings(id="parrot", backend="echo"))
        await backend.start()
        try:
            return (await backend.embed(request)).model_dump(mode="json", exclude_unset=True)
        finally:
            await backend.stop()

    return asyncio.run(run())


def test_embeddings_are_unit_vectors_in_the_order_of_the_inputs() -> None:
    answer = embed(["one", "two", "one"])
    vectors = [item["embedding"] for item in answer["data"]]
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert vectors[0] == vectors[2] != vectors[1]
    assert [len(vector) for vector in vectors] == [64] * 3
    assert math.hypot(*vectors[0]) == pytest.approx(1)
    assert answer["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert embed(EchoTokenizer().encode("one", add_special_tokens=True))["data"][0]["embedding"] == vectors[0]


def test_base64_embeddings_are_little_endian_floats() -> None:
    encoded = embed("one", encoding_format="base64")["data"][0]["embedding"]
    vector = embed("one")["data"][0]["embedding"]
    assert struct.unpack("<64f", base64.b64decode(encoded)) == pytest.approx(vector)


def test_fewer_dimensions_are_the_first_ones_and_more_are_refused() -> None:
    few, all_of_them = (embed("one", dimensions=count)["data"][0]["embedding"] for count in (3, 64))
    assert math.hypot(*few) == pytest.approx(1)
    assert few == pytest.approx([number / math.hypot(*all_of_them[:3]) for number in all_of_them[:3]])
    with pytest.raises(InvalidRequest) as caught:
        embed("one", dimensions=65)
    assert caught.value.param == "dimensions"


def test_an_input_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        embed(["short", "long" * 3000])
    assert caught.value.param == "input"


def test_tokens_spell_any_text() -> None:
    tokenizer = EchoTokenizer()
    for said in ("", "a", "Hello, wörld!\n\n", "漢字🎉 ~ ", "\x00\x7f"):
        ids = tokenizer.encode(said, add_special_tokens=True)
        assert all(0 <= token_id < tokenizer.size for token_id in ids)
        assert b"".join(map(tokenizer.token_bytes, ids)).decode() == said
    with pytest.raises(IndexError):
        tokenizer.token_bytes(tokenizer.size)
