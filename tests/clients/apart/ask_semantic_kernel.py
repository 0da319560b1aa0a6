"""semantic-kernel: text, a stream, an answer by a schema."""

from typing import Literal

from each import CHAT, QUESTION, URL, each
from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory

service = OpenAIChatCompletion(
    ai_model_id=CHAT, async_client=AsyncOpenAI(base_url=URL, api_key="unused", max_retries=0)
)
SHORT = OpenAIChatPromptExecutionSettings(temperature=0, max_tokens=40)


class Report(BaseModel):
    city: Literal["Paris", "Rome"]
    sunny: bool


def history():
    asked = ChatHistory(system_message="Be brief.")
    asked.add_user_message(QUESTION)
    return asked


async def text():
    answer = await service.get_chat_message_content(history(), SHORT)
    assert answer.content
    return answer.content


async def stream():
    pieces = [str(piece) async for piece in service.get_streaming_chat_message_content(history(), SHORT)]
    assert "".join(pieces)
    return "".join(pieces)


async def structured():
    settings = OpenAIChatPromptExecutionSettings(temperature=0, max_tokens=40, response_format=Report)
    return Report.model_validate_json((await service.get_chat_message_content(history(), settings)).content)


each(text, stream, structured)
