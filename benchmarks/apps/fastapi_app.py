"""What a user would write with FastAPI: the same models, the same answers, no limits, no logs, no keys."""

from __future__ import annotations

import time
import uuid

from fastapi import FastAPI

from specserve.generated.models import (
    ChatCompletionChoice,
    ChatCompletionResponseMessage,
    CompletionTokensDetails,
    CompletionUsage,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    PromptTokensDetails,
)

app = FastAPI()


def said(request: CreateChatCompletionRequest) -> str:
    """What `echo` answers: the last user message."""
    return str(request.messages[-1].content)


@app.post("/v1/chat/completions", response_model=CreateChatCompletionResponse, response_model_exclude_unset=True)
async def create_chat_completion(request: CreateChatCompletionRequest) -> CreateChatCompletionResponse:
    """Answer as `echo` does."""
    text = said(request)
    tokens = (len(text) + 1) // 2
    return CreateChatCompletionResponse(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        object="chat.completion",
        created=int(time.time()),
        model=request.model,
        choices=[
            ChatCompletionChoice(
                index=0,
                message=ChatCompletionResponseMessage(role="assistant", content=text, refusal=None),
                logprobs=None,
                finish_reason="stop",
            )
        ],
        usage=CompletionUsage(
            prompt_tokens=100,
            completion_tokens=tokens,
            total_tokens=100 + tokens,
            completion_tokens_details=CompletionTokensDetails(
                accepted_prediction_tokens=0, audio_tokens=0, reasoning_tokens=0, rejected_prediction_tokens=0
            ),
            prompt_tokens_details=PromptTokensDetails(audio_tokens=0, cached_tokens=0),
        ),
    )
