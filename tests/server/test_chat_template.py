"""Chat templates as an operator gives them, and a real model made to think by one."""

import json

import pytest
from servers import CHAT, running

# No reasoning model is at hand, so the template makes an ordinary one think: it opens the block itself, and where the
# client's last message says how the thoughts end, they are over.
THINKING = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
<think>
{% if enable_thinking is defined and not enable_thinking %}</think>

{% endif %}"""


@pytest.fixture(scope="module")
def thinking(tmp_path_factory):
    file = tmp_path_factory.mktemp("templates") / "thinking.jinja"
    file.write_text(THINKING)
    flags = ("--model", CHAT, "--chat-template", str(file), "--validate-responses")
    with running(*flags) as server, server.client() as client:
        yield client


def ask(client, **body):
    said = {
        "model": CHAT,
        "temperature": 0,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    }
    answer = client.post("/v1/chat/completions", json=said | {"max_tokens": 24} | body)
    assert answer.status_code == 200, answer.text
    return answer


def folded(answer):
    thoughts = content = ""
    usage = None
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            chunk = json.loads(line[6:])
            usage = chunk["usage"] or usage
            for choice in chunk["choices"]:
                thoughts += choice["delta"].get("reasoning_content") or ""
                content += choice["delta"].get("content") or ""
    return thoughts, content, usage


def test_a_real_model_that_is_cut_off_in_its_thoughts_has_no_answer(thinking):
    answer = ask(thinking).json()
    [choice] = answer["choices"]
    assert choice["finish_reason"] in {"length", "stop"}
    assert choice["message"]["reasoning_content"]
    assert choice["message"]["content"] == ""
    details = answer["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == answer["usage"]["completion_tokens"]


def test_streamed_thoughts_are_those_of_the_plain_answer(thinking):
    plain = ask(thinking).json()
    thoughts, content, usage = folded(ask(thinking, stream=True, stream_options={"include_usage": True}))
    message = plain["choices"][0]["message"]
    assert (thoughts, content) == (message["reasoning_content"], message["content"])
    assert usage["completion_tokens_details"] == plain["usage"]["completion_tokens_details"]


def test_without_effort_it_answers_at_once(thinking):
    answer = ask(thinking, reasoning_effort="none").json()
    message = answer["choices"][0]["message"]
    assert "reasoning_content" not in message
    assert "Paris" in message["content"]
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_a_template_reads_the_values_that_a_request_gives_it(thinking):
    answer = ask(thinking, chat_template_kwargs={"enable_thinking": False, "unread": 1})
    assert "reasoning_content" not in answer.json()["choices"][0]["message"]
    assert answer.headers["x-specserve-ignored-parameters"] == "chat_template_kwargs.unread"
    for nothing in (None, {}):
        answer = ask(thinking, chat_template_kwargs=nothing)
        assert answer.json()["choices"][0]["message"]["reasoning_content"]
        assert "x-specserve-ignored-parameters" not in answer.headers


def test_what_the_server_gives_a_template_is_refused_by_name(thinking):
    said = {"model": CHAT, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    for name in ("messages", "add_generation_prompt", "tools"):
        refused = thinking.post("/v1/chat/completions", json=said | {"chat_template_kwargs": {name: []}})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, f"chat_template_kwargs.{name}")
    refused = thinking.post("/v1/chat/completions", json=said | {"chat_template_kwargs": "enable_thinking"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "chat_template_kwargs")


def test_control_tokens_in_the_values_stay_text(thinking):
    hostile = {"enable_thinking": "<|im_end|>" * 20}
    assert ask(thinking, chat_template_kwargs=hostile).status_code == 200


def test_capabilities_say_that_effort_has_effect(thinking):
    [model] = thinking.get("/v1/models").json()["data"]
    assert {"chat_template_kwargs", "reasoning_effort"} <= set(
        model["capabilities"]["operations"]["createChatCompletion"]
    )


def test_a_table_has_its_own_template(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text(
        "chat_template = 'zephyr'\n[[models]]\nid = 'a'\nbackend = 'echo'\nchat_template = 'chatml'\n"
        "[[models]]\nid = 'b'\nbackend = 'echo'\n"
    )
    with running("--config", str(config)) as server, server.client() as client:
        tokens = {}
        for model in "ab":
            said = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
            tokens[model] = client.post("/v1/chat/completions", json=said).json()["usage"]["prompt_tokens"]
        assert tokens["a"] > tokens["b"]
        named = {"model": "a", "messages": [{"role": "user", "content": "Hi", "name": "Ada"}], "max_tokens": 1}
        assert client.post("/v1/chat/completions", json=named).status_code == 200
        hidden = client.post("/v1/chat/completions", json=named | {"model": "b"})
        assert (hidden.status_code, hidden.headers["x-specserve-ignored-parameters"]) == (200, "messages[0].name")


@pytest.mark.parametrize(
    ("template", "says"), [("no-such", "chatml"), ("broken.jinja", "compiled"), ("mute.jinja", "user message")]
)
def test_a_bad_template_stops_the_start_with_one_line(tmp_path, template, says):
    (tmp_path / "broken.jinja").write_text("{% if %}")
    (tmp_path / "mute.jinja").write_text("hello")
    given = str(tmp_path / template) if "." in template else template
    with pytest.raises(AssertionError) as failure, running("--model", "echo", "--chat-template", given):
        pass
    lines = [line for line in str(failure.value).splitlines() if line.startswith("specserve: ")]
    assert len(lines) == 1
    assert says in lines[0]
