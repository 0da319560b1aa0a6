"""LlamaIndex's classes for servers that speak OpenAI's API, against a real one."""

from typing import Literal

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from servers import CHAT, EMBED

PARIS = "What is the capital of France?"


@pytest.fixture
def reach(default_server):
    return {"api_base": f"{default_server.url}/v1", "api_key": "unused", "max_retries": 0}


@pytest.fixture
def chat(reach):
    return OpenAILike(model=CHAT, is_chat_model=True, context_window=8192, temperature=0, max_tokens=24, **reach)


def test_chat_answers(chat):
    answer = chat.chat([ChatMessage(role="system", content="You are brief."), ChatMessage(role="user", content=PARIS)])
    assert "Paris" in answer.message.content


def test_a_stream_says_what_the_plain_answer_says(chat):
    said = [ChatMessage(role="user", content=PARIS)]
    *_, last = chat.stream_chat(said)
    assert last.message.content == chat.chat(said).message.content


def test_complete_asks_the_chat_or_the_completions(chat, reach):
    assert "Paris" in chat.complete(PARIS).text
    plain = OpenAILike(model=CHAT, is_chat_model=False, context_window=8192, temperature=0, max_tokens=8, **reach)
    assert plain.complete("The capital of France is").text
    assert [*plain.stream_complete("The capital of France is")][-1].text


def test_embeddings(reach):
    embeddings = OpenAILikeEmbedding(model_name=EMBED, **reach)
    one = embeddings.get_text_embedding("A cat.")
    many = embeddings.get_text_embedding_batch(["A cat.", "A tax return."])
    assert len(one) == 384
    assert many[0] == pytest.approx(one, abs=1e-5)


class Report(BaseModel):
    """What the model must fill in."""

    city: Literal["Paris", "Rome"]
    sunny: bool


def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


def test_structured_output_through_a_forced_call(reach):
    chat = OpenAILike(
        model=CHAT, is_chat_model=True, is_function_calling_model=True, context_window=8192, temperature=0, **reach
    )
    assert isinstance(chat.structured_predict(Report, PromptTemplate(PARIS)), Report)


def test_tools(reach):
    chat = OpenAILike(
        model=CHAT, is_chat_model=True, is_function_calling_model=True, context_window=8192, temperature=0, **reach
    )
    tool = FunctionTool.from_defaults(get_weather)
    answer = chat.chat_with_tools([tool], user_msg=PARIS, tool_required=True)
    [call] = chat.get_tool_calls_from_response(answer)
    assert (call.tool_name, set(call.tool_kwargs)) == ("get_weather", {"city"})
