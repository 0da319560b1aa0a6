"""strands: an agent that answers in a stream, and one that fills in a form by a call."""

from typing import Literal

from each import CHAT, QUESTION, URL, each
from pydantic import BaseModel
from strands import Agent
from strands.models.openai import OpenAIModel

model = OpenAIModel(
    client_args={"base_url": URL, "api_key": "unused", "max_retries": 0},
    model_id=CHAT,
    params={"temperature": 0, "max_tokens": 60},
)


class Report(BaseModel):
    """What is known of the weather."""

    city: Literal["Paris", "Rome"]
    sunny: bool


async def stream():
    said = ""
    short = OpenAIModel(
        client_args={"base_url": URL, "api_key": "unused"}, model_id=CHAT, params={"temperature": 0, "stop": [","]}
    )
    async for event in Agent(model=short, callback_handler=None).stream_async(QUESTION):
        said += event.get("data", "")
    assert said
    return said


async def form():
    ask = [{"role": "user", "content": [{"text": QUESTION}]}]
    pieces = [piece async for piece in model.structured_output(Report, ask)]
    assert isinstance(pieces[-1]["output"], Report)
    return pieces[-1]["output"]


each(stream, form)
