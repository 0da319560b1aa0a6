"""haystack: text, a stream, an answer by a schema, a call and its result, embeddings."""

from typing import Literal

from each import CHAT, EMBED, QUESTION, URL, each
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret
from pydantic import BaseModel

REACH = {"api_base_url": URL, "api_key": Secret.from_token("unused"), "max_retries": 0}
SHORT = {"temperature": 0, "max_tokens": 40}
ASK = [ChatMessage.from_user(QUESTION)]
PLACE = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
weather = Tool("get_weather", "Look up the weather", {**PLACE, "additionalProperties": False}, lambda city: city)


class Report(BaseModel):
    city: Literal["Paris", "Rome"]
    sunny: bool


def ask(messages, more=None, **options):
    [answer] = OpenAIChatGenerator(model=CHAT, generation_kwargs={**SHORT, **(more or {})}, **options, **REACH).run(
        messages
    )["replies"]
    return answer


def text():
    answer = ask(ASK)
    assert answer.text
    return answer.text


def stream():
    pieces = []
    answer = ask(ASK, streaming_callback=lambda piece: pieces.append(piece.content or ""))
    assert answer.text == "".join(pieces)
    return answer.text


def structured():
    return Report.model_validate_json(ask(ASK, {"response_format": Report}).text)


def call_and_result():
    answer = ask(ASK, {"tool_choice": "required"}, tools=[weather])
    assert answer.tool_calls
    results = [ChatMessage.from_tool("sunny", origin=call) for call in answer.tool_calls]
    final = ask([*ASK, answer, *results])
    assert final.text
    return answer.tool_calls, final.text


def embedding():
    vector = OpenAITextEmbedder(model=EMBED, **REACH).run("hello")["embedding"]
    assert vector
    return len(vector)


each(text, stream, structured, call_and_result, embedding)
