"""The gateway's endpoints through the official client: our server in front of the stand-in for IBM's cloud."""

import json

import numpy as np
import pytest
from openai import OpenAI
from pydantic import BaseModel
from watsonx_cloud import CHAT, EMBED, LANGUAGE, VISION

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}


@pytest.fixture(scope="module")
def client(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def no_bad_requests(cloud):
    before = len(cloud.refused)
    yield
    assert cloud.refused[before:] == []


def said(text):
    return [{"role": "user", "content": text}]


def test_the_models_have_their_limits(http):
    models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert list(models) == [CHAT, VISION, LANGUAGE, EMBED, "ours"]
    assert models["ours"]["owned_by"] == "us"
    assert models["ours"]["capabilities"] == models[CHAT]["capabilities"]
    chat = models[CHAT]
    assert chat["capabilities"]["context_length"] == 4096
    assert chat["capabilities"]["max_output_tokens"] == 512
    assert set(chat["capabilities"]["operations"]) == {"createChatCompletion", "createCompletion"}
    assert "tools" in chat["capabilities"]["operations"]["createChatCompletion"]
    seeing = models[VISION]["capabilities"]["operations"]
    assert set(seeing) == {"createChatCompletion"}
    assert "messages.content.image_url" in seeing["createChatCompletion"]
    assert "tools" not in seeing["createChatCompletion"]
    assert set(models[LANGUAGE]["capabilities"]["operations"]) == {"createCompletion"}
    assert models[EMBED]["capabilities"]["embedding_dimensions"] == 48
    assert http.get(f"/v1/models/{CHAT}").json() == chat


def test_a_chat_is_answered(client, cloud):
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
            *said([{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]),
        ],
        temperature=0.5,
        top_p=0.9,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        seed=7,
        logit_bias={"17": -100},
        stop=["geese", "ducks"],
        user="somebody",
    )
    assert answer.choices[0].message.content == "Hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == CHAT
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    path, body = cloud.asked[-1]
    assert path == "chat"
    assert body == {
        "model_id": CHAT,
        "project_id": cloud.project_id,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]},
        ],
        "max_completion_tokens": 0,
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "seed": 7,
        "logit_bias": {"17": -100},
        "stop": ["geese", "ducks"],
    }


def test_a_model_may_have_another_name_and_be_paid_for_by_a_space(client, cloud):
    assert client.chat.completions.create(model="ours", messages=said("Hi")).model == "ours"
    body = cloud.asked[-1][1]
    assert body["model_id"] == CHAT
    assert body["space_id"] == cloud.project_id
    assert "project_id" not in body


def test_a_chat_is_streamed(client, cloud):
    chunks = list(
        client.chat.completions.create(
            model=CHAT,
            messages=said("one two three four"),
            max_completion_tokens=3,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [choice.delta.content for choice in choices] == ["", "one", " two", " three", None]
    assert [choice.finish_reason for choice in choices] == [None] * 4 + ["length"]
    assert chunks[-1].usage.completion_tokens == 3
    assert cloud.asked[-1][0] == "chat_stream"
    assert cloud.asked[-1][1]["max_completion_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_to_one_question(client, stream):
    asked = {"model": CHAT, "messages": said("one two"), "n": 3}
    if not stream:
        answer = client.chat.completions.create(**asked)
        assert [choice.message.content for choice in answer.choices] == ["one two"] * 3
        return
    texts = {}
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert texts == dict.fromkeys(range(3), "one two")


@pytest.mark.parametrize("stream", [False, True])
def test_tools_go_there_and_back(client, cloud, stream):
    messages = said("Please call what you need.")
    with client.chat.completions.stream(model=CHAT, messages=messages, tools=[CLOCK, WEATHER]) as streamed:
        answer = streamed.get_final_completion()
    if not stream:
        answer = client.chat.completions.create(model=CHAT, messages=messages, tools=[CLOCK, WEATHER])
    assert cloud.asked[-1][1]["tool_choice_option"] == "auto"
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    messages += [
        choice.message.model_dump(exclude_unset=True, exclude={"parsed"}),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny."},
    ]
    messages[1]["tool_calls"] = [
        {"id": call.id, "type": "function", "function": {"name": "get_weather", "arguments": call.function.arguments}}
    ]
    done = client.chat.completions.create(model=CHAT, messages=messages, tools=[CLOCK, WEATHER])
    assert done.choices[0].message.content == "Sunny."
    assert done.choices[0].finish_reason == "stop"
    assert cloud.asked[-1][1]["messages"][-1] == {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}


@pytest.mark.parametrize("stream", [False, True])
def test_a_required_call_ends_as_a_call_whatever_ibm_says(client, cloud, stream):
    asked = {"model": CHAT, "messages": said("Hi"), "tools": [CLOCK], "tool_choice": "required"}
    if stream:
        with client.chat.completions.stream(**asked) as streamed:
            choice = streamed.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked).choices[0]
    assert cloud.asked[-1][1]["tool_choice_option"] == "required"
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.arguments == "{}"  # IBM leaves them empty


def test_a_named_tool_must_be_called(client, cloud):
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = client.chat.completions.create(model=CHAT, messages=said("Hi"), tools=[WEATHER, CLOCK], tool_choice=named)
    body = cloud.asked[-1][1]
    assert body["tool_choice"] == named
    assert "tool_choice_option" not in body
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
    assert answer.choices[0].finish_reason == "stop"  # as OpenAI has it


def test_allowed_tools_are_all_that_the_model_gets(client, cloud):
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_weather"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    answer = client.chat.completions.create(model=CHAT, messages=said("Hi"), tools=[WEATHER, CLOCK], tool_choice=choice)
    assert cloud.asked[-1][1]["tools"] == [WEATHER]
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_at_most_where_the_client_wants_no_more(client, stream):
    asked = {"model": CHAT, "messages": said("Call it twice."), "tools": [WEATHER]}
    for several, count in ((True, 2), (False, 1)):
        if stream:
            with client.chat.completions.stream(**asked, parallel_tool_calls=several) as streamed:
                answer = streamed.get_final_completion()
        else:
            answer = client.chat.completions.create(**asked, parallel_tool_calls=several)
        assert len(answer.choices[0].message.tool_calls) == count
        assert answer.choices[0].finish_reason == "tool_calls"


def test_structured_output(client, cloud):
    class ServiceAccess(BaseModel):
        city: str
        geese: int

    answer = client.chat.completions.parse(model=CHAT, messages=said("Where are you?"), response_format=ServiceAccess)
    assert answer.choices[0].message.parsed == ServiceAccess(city="Paris", geese=7)
    form = cloud.asked[-1][1]["response_format"]
    assert form["type"] == "json_schema"
    assert set(form["json_schema"]) == {"name", "schema", "strict"}
    plain = client.chat.completions.create(
        model=CHAT, messages=said("Hi"), response_format={"type": "json_object"}, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in plain if chunk.choices)
    assert json.loads(text) == {"said": "Hi"}


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities(client, stream):
    asked = {"model": CHAT, "messages": said("naïve geese"), "logprobs": True, "top_logprobs": 2}
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        tokens = [
            token for chunk in chunks for c in chunk.choices for token in (c.logprobs.content if c.logprobs else ())
        ]
    else:
        tokens = client.chat.completions.create(**asked).choices[0].logprobs.content
    assert [token.token for token in tokens] == ["naïve", " geese"]
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == "naïve geese"
    assert all(token.logprob == -0.25 for token in tokens)
    assert [(top.token, top.logprob) for top in tokens[0].top_logprobs] == [("naïve", -0.25), (" other1", -2.5)]


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_come_apart_from_the_answer(client, stream):
    asked = {"model": CHAT, "messages": said("Hi"), "reasoning_effort": "low"}
    if stream:
        chunks = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked, stream=True)]
        assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in chunks) == "Let me think."
    else:
        message = client.chat.completions.create(**asked).choices[0].message
        assert message.reasoning_content == "Let me think."
        assert message.content == "Hi"


def test_images_go_along(client, cloud):
    url = "data:image/png;base64,iVBORw0KGgo="
    image = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    client.chat.completions.create(model=VISION, messages=said([{"type": "text", "text": "What is it?"}, image]))
    assert cloud.asked[-1][1]["messages"][0]["content"][1] == image


@pytest.mark.parametrize("model", [CHAT, LANGUAGE])
def test_a_text_is_continued(client, cloud, model):
    answer = client.completions.create(
        model=model,
        prompt="one two three four",
        max_tokens=3,
        seed=0,
        top_p=0.5,
        stop="four",
        extra_body={"top_k": 5, "repetition_penalty": 1.1, "min_tokens": 1},
    )
    assert answer.choices[0].text == "one two three"
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 3)
    path, body = cloud.asked[-1]
    assert path == "generation"
    assert body == {
        "model_id": model,
        "project_id": cloud.project_id,
        "input": "one two three four",
        "parameters": {
            "decoding_method": "sample",
            "include_stop_sequence": False,
            "max_new_tokens": 3,
            "min_new_tokens": 1,
            "random_seed": 1,
            "repetition_penalty": 1.1,
            "stop_sequences": ["four"],
            "temperature": 1,
            "top_k": 5,
            "top_p": 0.5,
        },
    }


def test_several_texts_are_continued_at_the_same_time_and_streamed(client, cloud):
    prompts = [f"{number} geese" for number in range(20)]
    texts, reasons, usage = dict.fromkeys(range(20), ""), {}, None
    for chunk in client.completions.create(
        model=LANGUAGE, prompt=prompts, stream=True, temperature=0, stream_options={"include_usage": True}
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    assert texts == dict(enumerate(prompts))
    assert reasons == dict.fromkeys(range(20), "stop")
    assert (usage.prompt_tokens, usage.completion_tokens) == (40, 40)
    assert cloud.asked[-1][0] == "generation_stream"
    assert cloud.asked[-1][1]["parameters"]["decoding_method"] == "greedy"


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_of_a_text_and_its_prompt(client, stream):
    asked = {"model": CHAT, "prompt": "grey geese", "logprobs": 2, "echo": True, "max_tokens": 2}
    if stream:
        parts = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
        tokens = [token for part in parts if part.logprobs for token in part.logprobs.tokens]
        offsets = [offset for part in parts if part.logprobs for offset in part.logprobs.text_offset]
        text = "".join(part.text for part in parts)
    else:
        choice = client.completions.create(**asked).choices[0]
        tokens, offsets, text = choice.logprobs.tokens, choice.logprobs.text_offset, choice.text
        assert choice.logprobs.token_logprobs == [None, -0.25, -0.25, -0.25]
        assert choice.logprobs.top_logprobs[0] is None
        assert choice.logprobs.top_logprobs[1] == {" geese": -0.25, " other1": -2.5}
    assert text == "grey geesegrey geese"
    assert tokens == ["grey", " geese", "grey", " geese"]
    assert [text[at:].startswith(token) for at, token in zip(offsets, tokens, strict=True)] == [True] * 4


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_texts_become_vectors(client, cloud, encoding):
    raw = client.with_raw_response.embeddings.create(
        model=EMBED, input=["grey geese", "a fox"], encoding_format=encoding
    )
    kinds = {type(item["embedding"]) for item in raw.http_response.json()["data"]}
    assert kinds == {str if encoding == "base64" else list}
    answer = client.embeddings.create(model=EMBED, input=["grey geese", "a fox"])  # which asks for base64
    one = client.embeddings.create(model=EMBED, input="geese grey", encoding_format="float").data[0].embedding
    both = np.array([item.embedding for item in answer.data])
    assert both.shape == (2, 48)
    near, far = both @ np.array(one)
    assert near == pytest.approx(1, abs=1e-6)
    assert far < 0.9
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 8
    assert cloud.asked[-1][1] == {"model_id": EMBED, "project_id": cloud.project_id, "inputs": ["geese grey"]}


def test_more_texts_than_ibm_takes_at_once_become_vectors(client, cloud):
    before = len(cloud.asked)
    answer = client.embeddings.create(model=EMBED, input=[f"goose {number}" for number in range(1500)])
    assert [item.index for item in answer.data] == list(range(1500))
    assert answer.usage.prompt_tokens == 1500 * 4
    assert [len(body["inputs"]) for _, body in cloud.asked[before:]] == [1000, 500]
