"""LangChain's OpenAI classes against a real server."""

from operator import mul
from typing import Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from servers import CHAT, EMBED

PARIS = "What is the capital of France?"


@pytest.fixture
def reach(default_server):
    return {"base_url": f"{default_server.url}/v1", "api_key": "unused", "max_retries": 0}


@pytest.fixture
def chat(reach):
    return ChatOpenAI(model=CHAT, temperature=0, max_tokens=24, **reach)


def test_chat_answers_and_counts(chat):
    answer = chat.invoke([SystemMessage("You are brief."), HumanMessage(PARIS)])
    assert "Paris" in answer.content
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] in {"stop", "length"}


def test_a_stream_says_what_the_plain_answer_says(chat):
    chunks = list(chat.stream(PARIS, stream_usage=True))
    assert len(chunks) > 3
    whole = sum(chunks[1:], chunks[0])
    plain = chat.invoke(PARIS)
    assert whole.content == plain.content
    assert whole.usage_metadata["output_tokens"] == plain.usage_metadata["output_tokens"]


def test_a_conversation_with_earlier_answers_goes_on(chat):
    first = chat.invoke(PARIS)
    assert isinstance(first, AIMessage)
    assert chat.invoke([HumanMessage(PARIS), first, HumanMessage("And of Italy?")]).content


def test_several_at_once(chat):
    assert len(chat.batch([PARIS, "What is 2+2?", "Say hi."])) == 3


def test_completions(reach):
    assert OpenAI(model=CHAT, temperature=0, max_tokens=8, **reach).invoke("The capital of France is")


def test_embeddings_of_texts(reach):
    """Texts go out as texts: by default this class sends the token ids of another vendor's tokenizer."""
    embeddings = OpenAIEmbeddings(model=EMBED, check_embedding_ctx_length=False, **reach)
    cat, kitten, tax = embeddings.embed_documents(["A cat.", "A kitten.", "The tax return is due."])
    assert len(embeddings.embed_query("A cat.")) == 384
    assert sum(map(mul, cat, kitten)) > sum(map(mul, cat, tax))


class Report(BaseModel):
    """What the model must fill in."""

    city: Literal["Paris", "Rome"]
    sunny: bool


@tool
def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(reach, method):
    chat = ChatOpenAI(model=CHAT, temperature=0, max_tokens=100, **reach)
    assert isinstance(chat.with_structured_output(Report, method=method).invoke(PARIS), Report)


def test_a_round_of_tools(reach):
    chat = ChatOpenAI(model=CHAT, temperature=0, max_tokens=100, **reach)
    bound = chat.bind_tools([get_weather], tool_choice="get_weather")
    asked = bound.invoke(PARIS)
    [call] = asked.tool_calls
    result = get_weather.invoke(call)
    free = chat.bind_tools([get_weather], tool_choice="none")
    assert free.invoke([HumanMessage(PARIS), asked, result]).content
    streamed = list(bound.stream(PARIS))
    assert sum(streamed[1:], streamed[0]).tool_calls[0]["args"] == call["args"]
