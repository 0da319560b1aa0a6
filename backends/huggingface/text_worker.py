"""Serves one text model in the engine's process: takes requests, has prompts scored, reports what the runner brings."""

from __future__ import annotations

import queue
import sys
import threading
from collections import deque
from typing import IO, Any

from specserve.backends.huggingface.chooser import Chooser
from specserve.backends.huggingface.grammars import Grammars, Matcher
from specserve.backends.huggingface.opening import open_model, precision
from specserve.backends.huggingface.paged import PagedRunner
from specserve.backends.huggingface.scoring import Scoring
from specserve.backends.huggingface.single import SingleRunner
from specserve.backends.local.process.pipes import send, short

_TICK = 0.05  # seconds between two looks at what the manager holds, while it holds something


class TextWorker:
    """One text model.

    Args:
        order: See `order.py`.
        replies: Where reports go.

    Raises:
        ValueError: It cannot be opened as asked. The library raises other errors too.
    """

    def __init__(self, order: dict[str, Any], replies: IO[bytes]) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._replies = replies
        self._writing = threading.Lock()
        self._model = open_model(order, AutoModelForCausalLM)
        self._part = order["max_num_batched_tokens"]
        self._scorings: deque[Scoring] = deque()
        self._held_back: dict[int, list[tuple[int, int, dict[str, Any]]]] = {}
        self._compiling: list[dict[str, Any]] = []
        self._grammars: Grammars | None = None
        self._begun: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._told = (0, 0.0)
        with torch.inference_mode():
            self._runner = self._make_runner(order)
        self.capacity = self._runner.capacity
        self.precision = precision(order, self._model, caches=True)

    def _make_runner(self, order: dict[str, Any]) -> PagedRunner | SingleRunner:
        paged = order["paged"]
        if order["attn_implementation"] == "eager":
            # The manager would change it for good, also for those who read a prompt as a whole.
            if paged:
                raise ValueError("eager attention has no paged form here: take 'sdpa'")
            paged = False
        if paged is not False:
            try:
                return PagedRunner(self._model, order, self._report)
            except Exception as error:
                if paged:
                    raise ValueError(f"it has no paged attention that could be used: {short(error)}") from error
                sys.stderr.write(f"specserve: no paged attention for {order['model']}: {short(error)}\n")
        return SingleRunner(self._model, order, self._report)

    def serve(self, inbox: queue.SimpleQueue[dict[str, Any] | None]) -> None:
        """Serve until the input ends."""
        self._inbox = inbox
        while self._take_requests():
            if self._scorings:
                self._score()
            self._release()
            self._runner.step()
            self._tell_activity()

    def _take_requests(self) -> bool:
        """Take all that has come, and wait if there is nothing else to do."""
        wait = not (self._scorings or self._runner.busy)
        timeout = None if self._runner.idle and self._told == (0, 0.0) else _TICK
        while True:
            try:
                message = self._inbox.get(block=wait, timeout=timeout)
            except queue.Empty:
                return True
            wait = False
            if message is None:
                return False
            if "vocabulary" in message:
                self._grammars = Grammars(message["vocabulary"], self._inbox.put)
            if "add" in message:
                self._add(message)
            for sequence_id in message.get("cancel", ()):
                self._cancel(sequence_id)

    def _add(self, message: dict[str, Any]) -> None:
        if "left" not in message:
            message["left"] = set(message["add"])
            if message["grammar"] and self._grammars is not None:
                self._compiling.append(message)
                self._grammars.put(message)
                return
        self._compiling = [each for each in self._compiling if each["left"] is not message["left"]]
        if not message["left"]:
            return
        if "why" in message:
            self._report([[each, [], [], f"!{message['why']}"] for each in message["left"]])
        elif message["config"]["rank_prompt"]:
            self._scorings.append(Scoring(self._model, message["prompt"], message))
        else:
            self._begin(message)

    def _begin(self, message: dict[str, Any]) -> None:
        """Begin the first answer now, and the others when it has begun: then they find the prompt in the cache."""
        answers = [pair for pair in zip(message["add"], message["seeds"], strict=True) if pair[0] in message["left"]]
        if not message["config"]["max_tokens"]:
            self._report([[each, [], [], "length", []] for each, _ in answers])
            return
        if answers:
            (first, seed), *others = answers
            if others:
                self._held_back[first] = [(each, its_seed, message) for each, its_seed in others]
            self._start(first, seed, message)

    def _start(self, sequence_id: int, seed: int, message: dict[str, Any]) -> None:
        matcher = Matcher(message["compiled"]) if "compiled" in message else None
        chooser = Chooser(message["config"], seed, message["prompt"], message["end_ids"], matcher)
        self._runner.add(sequence_id, message["prompt"], chooser, message["end_ids"])

    def _cancel(self, sequence_id: int) -> None:
        for message in self._compiling:
            message["left"].discard(sequence_id)
        for scoring in list(self._scorings):
            left = scoring.request["left"]
            left.discard(sequence_id)
            if not left:
                self._scorings.remove(scoring)
        self._runner.cancel(sequence_id)
        for held in self._held_back.values():
            held[:] = [answer for answer in held if answer[0] != sequence_id]
        self._free(sequence_id)

    def _free(self, sequence_id: int) -> None:
        """Start the answers that waited for this one."""
        for each, seed, message in self._held_back.pop(sequence_id, ()):
            self._start(each, seed, message)

    def _release(self) -> None:
        while True:
            try:
                self._free(self._begun.get_nowait())
            except queue.Empty:
                return

    def _score(self) -> None:
        """Read the next part of a prompt; prompts take turns."""
        scoring = self._scorings.popleft()
        first = next(iter(scoring.request["left"]))
        try:
            if not scoring.done:
                with self._runner.paused():
                    scoring.step(self._part)
        except Exception as error:  # noqa: BLE001 - goes to the request
            self._report([[each, [], [], f"!{short(error)}"] for each in scoring.request["left"]])
            return
        if not scoring.done:
            self._scorings.append(scoring)
            return
        self._report([[first, [], [], None, [], scoring.ranks]])
        self._begin(scoring.request)

    def _report(self, outputs: list[Any]) -> None:
        """Tell the server what a step brought; called in the manager's thread too."""
        for sequence_id, tokens, _, end, *_ in outputs:
            if (tokens or end) and sequence_id in self._held_back:
                self._begun.put(sequence_id)
                self._inbox.put({})  # to be looked at now
        self._send(outputs, self._runner.activity())

    def _tell_activity(self) -> None:
        """Tell what is held, if that has changed since the last step."""
        activity = self._runner.activity()
        if activity != self._told and not activity[0]:
            self._send([], activity)

    def _send(self, outputs: list[Any], activity: tuple[int, float]) -> None:
        with self._writing:
            self._told = activity
            send(self._replies, {"outputs": outputs, "running": activity[0], "cache_usage": activity[1]})
