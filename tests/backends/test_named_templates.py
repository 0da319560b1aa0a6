"""The chat templates that come with specserve."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_templates import GEMMA, LLAMA_2, SPECIAL, ZEPHYR

from specserve.backends.local.prompts.chat_template import ChatTemplate
from specserve.backends.local.prompts.named_templates import names, read_template
from specserve.spec.errors import BackendLoadError

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]

RENDERED = {
    "alpaca": (
        "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello!</s>\n\n### Instruction:\nBye\n\n### Response:\n"
    ),
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    ),
    "deepseek-chat": "<s>Be brief.\n\nUser: Hi\n\nAssistant: Hello!</s>User: Bye\n\nAssistant:",
    "deepseek-r1": (
        "<s>Be brief.<｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜><think>\n"
    ),
    "gemma-instruct": (
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    ),
    "llama-2-chat": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Bye [/INST]",
    "llama-3-instruct": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral-instruct": "<s>[INST] Be brief.\n\nHi [/INST] Hello!</s>[INST] Bye [/INST]",
    "phi-3": (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n"
        "<|assistant|>\nHello!<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n"
    ),
    "qwen3": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    ),
    "vicuna": "<s>Be brief. USER: Hi ASSISTANT: Hello!</s>USER: Bye ASSISTANT:",
    "zephyr": (
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n"
        "<|assistant|>\nHello!</s>\n<|user|>\nBye</s>\n<|assistant|>\n"
    ),
}  # fmt: skip


def test_every_template_is_listed_and_tested() -> None:
    assert names() == sorted(RENDERED)


@pytest.mark.parametrize("name", RENDERED)
def test_a_named_template_renders_its_format(name: str) -> None:
    assert ChatTemplate(read_template(name), SPECIAL).render(TALK) == RENDERED[name]


@pytest.mark.parametrize("name", RENDERED)
def test_a_named_template_needs_no_special_tokens_and_no_order_of_roles(name: str) -> None:
    template = ChatTemplate(read_template(name), {})
    text = template.render([TALK[3], TALK[1], TALK[2]])
    assert text.index("Bye") < text.index("Hi") < text.index("Hello!")


@pytest.mark.parametrize(
    ("name", "published"),
    [("llama-2-chat", LLAMA_2), ("zephyr", ZEPHYR), ("gemma-instruct", GEMMA)],
)
def test_a_named_template_agrees_with_a_published_one(name: str, published: str) -> None:
    assert ChatTemplate(read_template(name), SPECIAL).render(TALK) == ChatTemplate(published, SPECIAL).render(TALK)


def test_chatml_has_a_place_for_names() -> None:
    template = ChatTemplate(read_template("chatml"), SPECIAL)
    assert all(template.shows_names(role) for role in ("system", "user", "assistant"))
    assert "<|im_start|>user name=Ada\nHi" in template.render([{**TALK[1], "name": "Ada"}])


def test_a_file_is_a_template_too(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages }}")
    assert read_template(str(file)) == "{{ messages }}"


def test_what_is_neither_name_nor_file_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(BackendLoadError, match="chatml, deepseek-chat"):
        read_template("chatmel")
    with pytest.raises(BackendLoadError, match="cannot read"):
        read_template(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BackendLoadError, match="cannot read"):
        read_template(str(tmp_path / "binary"))
