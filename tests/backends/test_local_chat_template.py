from __future__ import annotations

from typing import Any

import pytest
from real_templates import CHATML, GEMMA, LLAMA_2, MISTRAL, SPECIAL, ZEPHYR

from specserve.backends.local.prompts.chat_template import ChatTemplate
from specserve.backends.local.prompts.messages import template_messages
from specserve.generated.models import CreateChatCompletionRequest
from specserve.spec.errors import BackendLoadError, InvalidRequest, UnsupportedParameter

IGNORES_SYSTEM = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"

PARTS = """{% for m in messages %}{{ m.role }}:{% for part in m.content %}
{%- if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %};{% endfor %}"""


def rendered(source: str, *messages: dict[str, Any]) -> str:
    request = CreateChatCompletionRequest.model_validate({"model": "m", "messages": list(messages)})
    assert request.messages
    return ChatTemplate(source, SPECIAL).render(template_messages(request.messages))


def says(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


TALK = (says("system", "Be brief."), says("user", "Hi"), says("assistant", "Hello!"), says("user", "Bye"))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            CHATML,
            (
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
            ),
        ),
        (LLAMA_2, "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Bye [/INST]"),
        (
            ZEPHYR,
            (
                "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n"
                "<|assistant|>\nHello!</s>\n<|user|>\nBye</s>\n<|assistant|>\n"
            ),
        ),
        (MISTRAL, "<s>[INST] Be brief.\n\nHi [/INST]Hello!</s> [INST] Bye [/INST]"),
        (
            GEMMA,
            (
                "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
                "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
            ),
        ),
        (IGNORES_SYSTEM, "[user]Be brief.\n\nHi[assistant]Hello![user]Bye[assistant]"),
        (PARTS, "system:Be brief.;user:Hi;assistant:Hello!;user:Bye;"),
    ],
    ids=["chatml", "llama-2", "zephyr", "mistral", "gemma", "ignores-system", "content-in-parts"],
)
def test_a_conversation_is_rendered_as_the_model_was_trained(source: str, text: str) -> None:
    assert rendered(source, *TALK) == text


def test_developer_is_another_name_for_system() -> None:
    assert rendered(CHATML, says("developer", "D"), says("user", "U")).startswith("<|im_start|>system\nD<|im_end|>")


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert "\none two<|im_end|>" in rendered(CHATML, says("user", parts))


def test_absent_content_is_empty_and_a_refusal_is_what_the_assistant_said() -> None:
    silent = {"role": "assistant", "content": None}
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    text = rendered(CHATML, says("user", "a"), silent, says("user", "b"), refused, says("user", "c"))
    assert "<|im_start|>assistant\n<|im_end|>" in text
    assert "<|im_start|>assistant\nNo.<|im_end|>" in text


def test_a_name_reaches_the_template() -> None:
    source = "{% for m in messages %}{{ m.name or '-' }}:{{ m.content }} {% endfor %}"
    assert rendered(source, {"role": "user", "content": "a", "name": "Ada"}, says("user", "b")) == "Ada:a -:b "


def test_a_part_that_is_no_text_is_refused_by_name() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    with pytest.raises(UnsupportedParameter) as caught:
        rendered(CHATML, says("user", [{"type": "text", "text": "what?"}, image]))
    assert caught.value.param == "messages[0].content[1]"


def test_system_text_with_no_user_message_after_it_becomes_one() -> None:
    assert rendered(MISTRAL, says("system", "S")) == "<s>[INST] S [/INST]"
    assert rendered(MISTRAL, says("user", "U"), says("system", "S")) == "<s>[INST] U\n\nS [/INST]"


def test_a_refusal_of_the_template_is_a_bad_request_in_its_own_words() -> None:
    with pytest.raises(InvalidRequest, match="must alternate") as caught:
        rendered(MISTRAL, says("user", "a"), says("user", "b"))
    assert caught.value.param == "messages"


def test_a_refusal_that_quotes_the_client_is_not_passed_on() -> None:
    source = CHATML + "{% if 'secret' in messages[0].content %}{{ raise_exception(messages[0].content) }}{% endif %}"
    with pytest.raises(InvalidRequest) as caught:
        rendered(source, says("user", "my secret"))
    assert "secret" not in caught.value.message


def test_a_template_that_does_not_compile_stops_the_start() -> None:
    with pytest.raises(BackendLoadError, match="compiled"):
        ChatTemplate("{% for %}", {})


def test_a_template_that_shows_no_user_message_stops_the_start() -> None:
    with pytest.raises(BackendLoadError, match="user message"):
        ChatTemplate("hello", {})


@pytest.mark.parametrize(
    "trick",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ 'x' * 10000000000 }}",
        "{{ 10000000000 * 'x' }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% for i in range(90000) %}{{ 'a long line of text' }}{% endfor %}",
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_cannot_break_out_or_fill_the_memory_or_go_on_for_ever(trick: str) -> None:
    source = CHATML + "{% if messages[0].content == 'go' %}" + trick + "{% endif %}"
    with pytest.raises(InvalidRequest):
        rendered(source, says("user", "go"))


def test_what_transformers_offers_to_templates_is_there() -> None:
    source = (
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ {'a': '<é>'} | tojson }}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %} {{ strftime_now('%Y') | length }}"
        "{{ 'tools' if tools else '' }}{{ '-' * 3 }}{{ 2 * 3 }}"
    )
    assert rendered(source, says("user", "x"), says("user", "y")) == '{"a": "<é>"}x 4---6'
