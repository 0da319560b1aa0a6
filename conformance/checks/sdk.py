"""What the official Python client makes of answers that already came: they are replayed to it, nothing is sent."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from specserve.conformance.checks import Needs, check
from specserve.conformance.checks.embeddings import floats
from specserve.conformance.evidence import MISSING, Answer, Finding, dig, items
from specserve.conformance.replay import replaying

if TYPE_CHECKING:
    import openai

MESSAGES: Any = [{"role": "user", "content": "replayed"}]


def ask(answer: Answer, call: Callable[[openai.OpenAI], Any]) -> tuple[Any, Exception | None]:
    """What a call of the client returns, or raises, where the server answers as it did."""
    import openai

    with (
        replaying(answer) as url,
        openai.OpenAI(
            base_url=url,
            api_key="unused",
            max_retries=0,
            timeout=10,
            # The replay is plain HTTP on loopback; reading the system's certificates would take longer than the rest.
            http_client=openai.DefaultHttpxClient(trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
        ) as client,
    ):
        try:
            return call(client), None
        except Exception as error:  # noqa: BLE001  whatever it is, a user of the client would meet it
            return None, error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


@check("sdk.chat")
def chat(answer: Answer) -> Iterator[Finding]:
    """`.choices[0].message.content`."""
    text, error = ask(
        answer,
        lambda client: client.chat.completions.create(model="replayed", messages=MESSAGES).choices[0].message.content,
    )
    if error:
        yield Finding("the text of the answer", _told(error))
    elif not isinstance(text, str) and answer.get("choices", 0, "message", "content") is MISSING:
        yield Finding("the text of the answer", text)


@check("sdk.stream")
def stream(answer: Answer) -> Iterator[Finding]:
    """Iterated to its end."""

    def read(client: openai.OpenAI) -> str:
        chunks = client.chat.completions.create(model="replayed", messages=MESSAGES, stream=True)
        return "".join(
            chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices and chunk.choices[0].delta
        )

    _, error = ask(answer, read)
    broken = any(payload is MISSING for payload in answer.payloads)  # told elsewhere
    if error and not broken:
        yield Finding("the text of the stream", _told(error))


@check("sdk.models")
def models(answer: Answer) -> Iterator[Finding]:
    """Iterated, each with its id."""
    found, error = ask(answer, lambda client: [model.id for model in client.models.list()])
    if error:
        yield Finding("the ids of the models", _told(error))
    elif not found and answer.get("data") is MISSING:
        yield Finding("the ids of the models", found)


@check("sdk.bad-request", needs=Needs.COMPLETE)
def bad_request(answer: Answer) -> Iterator[Finding]:
    """The class that programs catch."""
    import openai

    yield from _raises(answer, (openai.BadRequestError, openai.UnprocessableEntityError))


@check("sdk.not-found", needs=Needs.COMPLETE)
def not_found(answer: Answer) -> Iterator[Finding]:
    """The class that programs catch."""
    import openai

    yield from _raises(answer, (openai.NotFoundError,))


@check("sdk.authentication", needs=Needs.COMPLETE)
def authentication(answer: Answer) -> Iterator[Finding]:
    """The class that programs catch."""
    import openai

    yield from _raises(answer, (openai.AuthenticationError,))


def _raises(answer: Answer, classes: tuple[type[Exception], ...]) -> Iterator[Finding]:
    result, error = ask(answer, lambda client: client.chat.completions.create(model="replayed", messages=MESSAGES))
    names = " or ".join(wanted.__name__ for wanted in classes)
    if error is None:
        yield Finding(names, f"no exception, but {str(result)[:100]}", silent=True)
    elif not isinstance(error, classes):
        yield Finding(names, _told(error))


@check("sdk.error-fields", needs=Needs.COMPLETE)
def error_fields(answer: Answer) -> Iterator[Finding]:
    """`.type` and `.body` are how programs tell one error from another."""
    _, error = ask(answer, lambda client: client.chat.completions.create(model="replayed", messages=MESSAGES))
    if error is not None and getattr(error, "type", None) is None and answer.get("error", "type") is MISSING:
        yield Finding("an exception with type, param and code", _told(error))


@check("sdk.completion")
def completion(answer: Answer) -> Iterator[Finding]:
    """`.choices[0].text`."""
    text, error = ask(
        answer, lambda client: client.completions.create(model="replayed", prompt="replayed").choices[0].text
    )
    if error:
        yield Finding("the text of the completion", _told(error))
    elif not isinstance(text, str) and answer.get("choices", 0, "text") is MISSING:
        yield Finding("the text of the completion", text)


@check("sdk.embeddings")
def embeddings(answer: Answer) -> Iterator[Finding]:
    """Decoded by the client."""
    vectors, error = ask(
        answer,
        lambda client: [entry.embedding for entry in client.embeddings.create(model="replayed", input="replayed").data],
    )
    if error:
        yield Finding("lists of numbers", _told(error))
    elif not all(isinstance(vector, list) and floats(vector) for vector in items(vectors)):
        yield Finding("lists of numbers", str(vectors)[:100])


@check("sdk.tools")
def tools(answer: Answer) -> Iterator[Finding]:
    """Put together by the client's own accumulator."""

    def read(client: openai.OpenAI) -> list[str]:
        with client.chat.completions.stream(model="replayed", messages=MESSAGES) as chunks:
            final = chunks.get_final_completion()
        return [
            str(dig(call.model_dump(), "function", "arguments")) for call in final.choices[0].message.tool_calls or []
        ]

    arguments, error = ask(answer, read)
    if error and type(error).__name__ != "LengthFinishReasonError":
        yield Finding("the calls of the stream", _told(error))
    elif any(not text.strip().endswith("}") or not text.strip().startswith("{") for text in items(arguments)):
        yield Finding("whole arguments", arguments)
