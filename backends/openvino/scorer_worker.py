"""The scorer's own process: ``python -m specserve.backends.openvino.scorer_worker``. Ranks the tokens of texts.

A process beside the engine's, started by the first request that asks for alternatives: those that do not ask share
nothing with it but the processor, and there they go first.

It speaks lines of JSON. In, first, what to open::

    {"model": folder of the .xml, "threads": number or null}

and then, at any time (several ids are several continuations of one prompt)::

    {"open": [ids], "prompt": [...], "rank_prompt": bool}
    {"add": id, "tokens": [...]}
    {"close": [ids]}

Out, ``{"ready": true}`` or ``{"failed": why}``, and then, as they are found, a rank for each token added, in order. If
asked for, the prompt's own come before, all but that of its first token, on the first id::

    {"ranks": [id, [[logprob, [token ids], [logprobs]], ...]]}        {"broken": id, "why": ...}

A text is read in parts of at most 64 tokens, the texts taking turns. One whose model is slower than the engine catches
up by itself, because a part of many tokens costs each of them little.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO, Any

from specserve.backends.local.process.pipes import begin, send, short
from specserve.backends.openvino import telemetry
from specserve.backends.openvino.scorer_model import Scorer, Text
from specserve.backends.openvino.seams import MODEL

_PART = 64
_MOST_BYTES = 1 << 30  # of KV cache, of all open texts together; one text may have more
_POLITENESS = 5


def main() -> int:
    """Open the model, say so, serve until the input ends."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_POLITENESS)
    replies = begin()
    telemetry.block()
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    try:
        order = json.loads(line)
        scorer = Scorer(Path(order["model"]) / MODEL, order["threads"])
    except Exception as error:  # noqa: BLE001 - the libraries raise RuntimeError and others; all go to the server
        send(replies, {"failed": short(error)})
        return 1
    send(replies, {"ready": True})
    worker = Worker(scorer, replies)
    threading.Thread(target=worker.read, args=(sys.stdin.buffer,), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        worker.run()
    replies.flush()
    os._exit(0)  # the reader may be inside a read, and nothing is left to be saved


class _Prompt:
    """A prompt that several texts continue: the first reads it, the others go on from there."""

    def __init__(self, members: list[int], length: int) -> None:
        self.members = members  # open texts, and those of them that have not begun
        self.not_begun = set(members)
        self.end = length - 1  # its last token is read with what follows
        self.known = length == 1
        self.snapshot: list[Any] | None = None


class _Open:
    """One open text.

    Attributes:
        tokens: All that is known of it.
        done: How many of them are ranked, or need no rank.
        text: What the model has read; None before it begins, and if its memory was taken away again.
    """

    def __init__(self, prompt: _Prompt, tokens: list[int], done: int) -> None:
        self.prompt = prompt
        self.tokens = tokens
        self.done = done
        self.text: Text | None = None

    @property
    def read(self) -> int:
        return self.text.length if self.text else 0


class Worker:
    """Takes turns between the open texts."""

    def __init__(self, scorer: Scorer, replies: IO[bytes]) -> None:
        self._scorer = scorer
        self._replies = replies
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._texts: dict[int, _Open] = {}  # in the order of their turns

    def read(self, requests: IO[bytes]) -> None:
        """Put what the server sends into the inbox; runs in a thread of its own."""
        for line in requests:
            self._inbox.put(json.loads(line))
        self._inbox.put(None)

    def run(self) -> None:
        """Read on while there is something to read; else sleep until a request comes."""
        busy = False
        while self._take_requests(wait=not busy):
            busy = self._step()

    def _take_requests(self, *, wait: bool) -> bool:
        while wait or not self._inbox.empty():
            wait = False
            request = self._inbox.get()
            if request is None:
                return False
            if "open" in request:
                self._open(request["open"], request["prompt"], rank_prompt=request["rank_prompt"])
            elif "add" in request and request["add"] in self._texts:
                self._texts[request["add"]].tokens += request["tokens"]
            for text_id in request.get("close", ()):
                self._close(text_id)
        return True

    def _open(self, ids: list[int], tokens: list[int], *, rank_prompt: bool) -> None:
        prompt = _Prompt(ids, len(tokens))
        for text_id in ids:
            ranked = 1 if rank_prompt and text_id == ids[0] else len(tokens)
            self._texts[text_id] = _Open(prompt, list(tokens), ranked)

    def _close(self, text_id: int) -> None:
        text = self._texts.pop(text_id, None)
        if text is not None:
            text.prompt.members.remove(text_id)
            self._begun(text_id, text.prompt)

    def _begun(self, text_id: int, prompt: _Prompt) -> None:
        prompt.not_begun.discard(text_id)
        if not prompt.not_begun:
            prompt.snapshot = None

    def _step(self) -> bool:
        """Read a part of the text whose turn it is; False if there is none."""
        for text_id, text in self._texts.items():
            leads = text_id == text.prompt.members[0]
            # The prompt is read ahead, while the engine reads it too.
            ahead = leads and not text.prompt.known
            wanted = text.read < len(text.tokens) - 1 and (text.done < len(text.tokens) or ahead)
            if wanted and (text.prompt.known or leads) and (text.text or self._room_for(text)):
                break
        else:
            return False
        self._texts[text_id] = self._texts.pop(text_id)  # to the end of the line
        try:
            ranks = self._read_part(text_id, text)
        except Exception as error:  # noqa: BLE001 - see `main`
            self._close(text_id)
            send(self._replies, {"broken": text_id, "why": short(error)})
            return True
        if ranks:
            send(self._replies, {"ranks": [text_id, ranks]})
        return True

    def _read_part(self, text_id: int, text: _Open) -> list[Any]:
        prompt = text.prompt
        if text.text is None:
            text.text = self._scorer.open()
            if prompt.snapshot is not None and text.done >= prompt.end:
                text.text.restore(prompt.snapshot, prompt.end)
            self._begun(text_id, prompt)
        start = text.text.length
        end = min(start + _PART, len(text.tokens) - 1)
        if start < prompt.end < end and not prompt.known:
            end = prompt.end
        following = text.tokens[start + 1 : end + 1]
        ranks = text.text.read(text.tokens[start:end], following, max(0, text.done - start - 1))
        text.done = max(text.done, end + 1)
        if text.text.length == prompt.end:
            prompt.known = True
            if prompt.not_begun:
                prompt.snapshot = text.text.snapshot()
        self._make_room()
        return ranks

    def _room_for(self, text: _Open) -> bool:
        alone = all(other.text is None for other in self._texts.values())
        return alone or self._scorer.bytes_per_token * (self._held() + len(text.tokens)) <= _MOST_BYTES

    def _make_room(self) -> None:
        """Take the memory of the youngest texts away: they begin again when there is room."""
        holders = sorted(text_id for text_id, text in self._texts.items() if text.text is not None)
        while len(holders) > 1 and self._scorer.bytes_per_token * self._held() > _MOST_BYTES:
            self._texts[holders.pop()].text = None

    def _held(self) -> int:
        """Tokens in memory."""
        snapshots = {text.prompt for text in self._texts.values() if text.prompt.snapshot is not None}
        return sum(text.read for text in self._texts.values()) + sum(prompt.end for prompt in snapshots)


if __name__ == "__main__":
    sys.exit(main())
