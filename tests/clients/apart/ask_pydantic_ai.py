"""pydantic-ai: an output type by a tool and by a schema, an agent with a tool, a stream."""

from typing import Literal

from each import CHAT, QUESTION, URL, each
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(CHAT, provider=OpenAIProvider(base_url=URL, api_key="unused"))
SHORT = {"temperature": 0, "max_tokens": 60}


class Report(BaseModel):
    city: Literal["Paris", "Rome"]
    sunny: bool


async def text():
    answer = await Agent(model, model_settings=SHORT).run(QUESTION)
    assert answer.output and answer.usage.output_tokens
    return answer.output


async def output_by_a_tool():
    answer = await Agent(model, model_settings=SHORT, output_type=ToolOutput(Report)).run(QUESTION)
    assert isinstance(answer.output, Report)
    return answer.output


async def output_by_a_schema():
    answer = await Agent(model, model_settings=SHORT, output_type=NativeOutput(Report)).run(QUESTION)
    assert isinstance(answer.output, Report)
    return answer.output


async def an_agent_with_a_tool():
    agent = Agent(model, model_settings=SHORT)

    @agent.tool_plain
    def get_weather(city: Literal["Paris", "Rome"]) -> str:
        """Look up the weather."""
        return f"Sunny in {city}"

    return (await agent.run(QUESTION)).output


async def stream():
    async with Agent(model, model_settings=SHORT).run_stream(QUESTION) as answer:
        pieces = [piece async for piece in answer.stream_text(delta=True)]
    assert pieces
    return "".join(pieces)


each(text, output_by_a_tool, output_by_a_schema, an_agent_with_a_tool, stream)
