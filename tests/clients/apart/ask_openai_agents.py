"""openai-agents on chat completions: text, an output type, a tool that has to be called, a stream."""

from typing import Literal

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from each import CHAT, QUESTION, URL, each
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)
model = OpenAIChatCompletionsModel(model=CHAT, openai_client=AsyncOpenAI(base_url=URL, api_key="unused", max_retries=0))
SHORT = ModelSettings(temperature=0, max_tokens=40)
MUST_CALL = ModelSettings(temperature=0, max_tokens=40, tool_choice="required")
CALLED = []


class Report(BaseModel):
    city: Literal["Paris", "Rome"]
    sunny: bool


@function_tool
def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """Look up the weather."""
    CALLED.append(city)
    return f"Sunny in {city}"


async def text():
    answer = await Runner.run(Agent(name="helper", model=model, model_settings=SHORT), QUESTION)
    assert answer.final_output
    return answer.final_output


async def output_type():
    agent = Agent(name="helper", model=model, model_settings=SHORT, output_type=Report)
    answer = await Runner.run(agent, QUESTION)
    assert isinstance(answer.final_output, Report)
    return answer.final_output


async def call_and_result():
    agent = Agent(name="helper", model=model, model_settings=MUST_CALL, tools=[get_weather])
    answer = await Runner.run(agent, QUESTION)
    assert CALLED
    return CALLED, answer.final_output


async def stream():
    answer = Runner.run_streamed(Agent(name="helper", model=model, model_settings=SHORT), QUESTION)
    kinds = {event.type async for event in answer.stream_events()}
    assert "raw_response_event" in kinds
    return answer.final_output


each(text, output_type, call_and_result, stream)
