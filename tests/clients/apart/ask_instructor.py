"""instructor: its modes for tools, JSON and schemas give objects; a stream gives one that grows."""

from typing import Literal

import instructor
from each import CHAT, QUESTION, URL, each
from openai import OpenAI
from pydantic import BaseModel

ASK = {"model": CHAT, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 60}


class Report(BaseModel):
    city: Literal["Paris", "Rome"]
    sunny: bool


def client(mode):
    return instructor.from_openai(OpenAI(base_url=URL, api_key="unused", max_retries=0), mode=mode)


def tools():
    return client(instructor.Mode.TOOLS).chat.completions.create(**ASK, response_model=Report, max_retries=0)


def schema():
    return client(instructor.Mode.JSON_SCHEMA).chat.completions.create(**ASK, response_model=Report, max_retries=0)


def partial():
    pieces = list(client(instructor.Mode.TOOLS).chat.completions.create_partial(**ASK, response_model=Report))
    assert pieces[-1].city in {"Paris", "Rome"}
    return pieces[-1]


each(tools, schema, partial)
