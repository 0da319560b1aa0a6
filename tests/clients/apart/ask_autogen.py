"""autogen-ext: always sends a name with what a user says."""

from typing import Literal

from autogen_core import CancellationToken
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    ModelInfo,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from each import CHAT, QUESTION, URL, each
from pydantic import BaseModel

ABLE = ModelInfo(vision=False, function_calling=True, json_output=True, family="unknown", structured_output=True)
client = OpenAIChatCompletionClient(
    model=CHAT, base_url=URL, api_key="unused", model_info=ABLE, temperature=0, max_tokens=40, max_retries=0
)
ASK = [SystemMessage(content="Be brief."), UserMessage(content=QUESTION, source="user")]


class Report(BaseModel):
    city: Literal["Paris", "Rome"]
    sunny: bool


async def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """Look up the weather."""
    return f"Sunny in {city}"


weather = FunctionTool(get_weather, description="Look up the weather")


async def text():
    answer = await client.create(ASK)
    assert answer.content and answer.usage.completion_tokens
    return answer.content


async def stream():
    pieces = [piece async for piece in client.create_stream(ASK)]
    assert pieces[-1].content == "".join(pieces[:-1])
    return pieces[-1].content


async def structured():
    return Report.model_validate_json((await client.create(ASK, json_output=Report)).content)


async def call_and_result():
    answer = await client.create(ASK, tools=[weather], tool_choice="required")
    call = answer.content[0]
    result = await weather.run_json({"city": "Paris"}, CancellationToken())
    done = FunctionExecutionResult(call_id=call.id, name=call.name, content=result, is_error=False)
    more = [*ASK, AssistantMessage(content=answer.content, source="assistant")]
    final = await client.create([*more, FunctionExecutionResultMessage(content=[done])])
    assert isinstance(final.content, str)
    return call, final.content


each(text, stream, structured, call_and_result)
