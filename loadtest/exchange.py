"""One request and its answer: what came when, how many tokens, and what was wrong with it."""

from __future__ import annotations

import json
from typing import Any

import gevent

from specserve.loadtest.client import Answer, Client, ConnectFailed, Cut, clock
from specserve.loadtest.prompts import Request
from specserve.loadtest.sample import Failure, Sample
from specserve.spec.sse import Event, Parser

_LARGEST = 64 * 1024 * 1024
_AFTER_DONE = 5.0
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")
STAMP = "x_sent"  # the same in stub.py, which imports nothing of gevent
"""The field in which a calibrating stub says when it sent a chunk."""


def exchange(client: Client, request: Request, sample: Sample, timeout: float, secret: str | None = None) -> None:
    """Send a request and write down what becomes of it.

    Args:
        client: Has the connections.
        request: What to send.
        sample: What is written into.
        timeout: Seconds for the whole of it.
        secret: A key that must not stand in the details of an error.
    """
    sample.sent = clock()
    sample.prompt_planned, sample.output_limit = request.prompt_tokens, request.output_tokens
    reader = _Reader(sample)
    deadline = _Deadline(timeout)
    answer: Answer | None = None
    try:
        answer = client.post(request.body)
        sample.connected, sample.reused = answer.connected, answer.reused
        reader.read(answer, deadline)
    except ConnectFailed as error:
        reader.fail(Failure.CONNECT, str(error))
    except Cut as error:
        reader.fail(Failure.CUT, str(error))
    except gevent.Timeout as error:
        if not deadline.is_over(error):
            raise
        if sample.done is None:
            reader.fail(Failure.TIMEOUT, f"not over after {timeout:g} s")
    except gevent.GreenletExit:
        reader.fail(Failure.ABORTED, "")
        raise
    finally:
        deadline.close()
        sample.ended = clock()
        if answer is not None:
            sample.first_byte, sample.status = answer.first_byte, answer.status
            answer.close()
        if secret:
            sample.detail = sample.detail.replace(secret, "***")


class _Deadline:
    """When to give up. It can be moved."""

    def __init__(self, seconds: float) -> None:
        self._timer = gevent.Timeout.start_new(seconds)

    def set(self, seconds: float) -> None:
        self._timer.close()
        self._timer = gevent.Timeout.start_new(seconds)

    def is_over(self, error: gevent.Timeout) -> bool:
        """Whether this one went off, and not another's."""
        return error is self._timer

    def close(self) -> None:
        self._timer.close()


class _Reader:
    """Takes the pieces of an answer apart. The first thing that is wrong names the failure."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._parser = Parser()
        self._usage: dict[str, Any] | None = None

    def fail(self, failure: Failure, detail: str) -> None:
        if self._sample.failure is None:
            self._sample.failure = failure
            self._sample.detail = detail[:300]

    def read(self, answer: Answer, deadline: _Deadline) -> None:
        sample, parser, size = self._sample, self._parser, 0
        refused: list[bytes] = []
        for now, piece in answer.pieces():
            size += len(piece)
            if size > _LARGEST:
                self.fail(Failure.TOO_LARGE, f"more than {_LARGEST} bytes")
                return
            if answer.status != 200:
                refused.append(piece)
                continue
            was_done = sample.done is not None
            for event in parser.feed(piece):
                self._take(event, now)
            if sample.done is not None and not was_done:
                deadline.set(_AFTER_DONE)  # over for the client; the rest is read to keep the connection
        if answer.status != 200:
            self.fail(Failure.HTTP, b"".join(refused)[:300].decode(errors="replace"))
            return
        for event in parser.close():
            self._take(event, clock())
        self._judge(answer)

    def _take(self, event: Event, now: float) -> None:
        sample = self._sample
        if sample.first_event is None:
            sample.first_event = now
        if sample.done is not None:
            return
        if event.data == "[DONE]":
            sample.done = now
            return
        try:
            chunk = json.loads(event.data)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            self.fail(Failure.BAD_JSON, event.data)
            return
        sample.chunks += 1
        if chunk.get("error"):
            self.fail(Failure.ERROR_EVENT, json.dumps(chunk["error"]))
            return
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        if self._has_text(chunk.get("choices")):
            sample.tokens_at.append(now)
            stamp = chunk.get(STAMP)
            if isinstance(stamp, float):
                sample.stamps.append(stamp)

    def _has_text(self, choices: Any) -> bool:
        found = False
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            delta = choice.get("delta")
            if isinstance(delta, dict) and any(delta.get(name) for name in _TEXTS):
                found = True
            if choice.get("finish_reason"):
                self._sample.finish_reason = str(choice["finish_reason"])
        return found

    def _judge(self, answer: Answer) -> None:
        sample = self._sample
        if "text/event-stream" not in answer.headers.get("content-type", ""):
            self.fail(Failure.NOT_A_STREAM, answer.headers.get("content-type", "no content type"))
        if sample.done is None:
            if self._parser.pending or (not answer.framed and sample.finish_reason is None):
                self.fail(Failure.CUT, "the stream ended in the middle")
            else:
                self.fail(Failure.NO_DONE, "")
        if not sample.tokens_at:
            self.fail(Failure.EMPTY, "")
        if self._usage is not None:
            self._check_usage(self._usage)

    def _check_usage(self, usage: dict[str, Any]) -> None:
        sample = self._sample
        prompt, completion, total = (usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
        if not (isinstance(prompt, int) and isinstance(completion, int) and min(prompt, completion) >= 0):
            self.fail(Failure.USAGE_MISMATCH, f"no counts: {json.dumps(usage)}")
            return
        sample.prompt_tokens, sample.completion_tokens = prompt, completion
        if total != prompt + completion:
            self.fail(Failure.USAGE_MISMATCH, f"{prompt} + {completion} is not {total}")
        elif completion > sample.output_limit:
            self.fail(Failure.USAGE_MISMATCH, f"{completion} tokens where {sample.output_limit} were the limit")
        elif completion == 0 and sample.tokens_at:
            self.fail(Failure.USAGE_MISMATCH, "text without a token")
