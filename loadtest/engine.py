"""Runs a plan on locust: in this process, or in several that locust leads."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, Runner
from locust.stats import stats_history

from specserve.loadtest.client import clock
from specserve.loadtest.conductor import Conductor
from specserve.loadtest.plan import Plan
from specserve.loadtest.prompts import Prompts
from specserve.loadtest.users import users_of
from specserve.loadtest.worker import Worker

_READY_WITHIN = 30.0
_STOP_WITHIN = 2.0


class NotReady(Exception):
    """The sending processes did not come up."""


def quiet() -> None:
    """Locust logs each step of a run; our reports say what there is to say."""
    logging.basicConfig(handlers=[logging.NullHandler()])


class Engine:
    """Locust's runner with our users, for one run or, with its page, for as many as are started there.

    Args:
        plan: What to do.
        prompts: The requests.
    """

    def __init__(self, plan: Plan, prompts: Prompts) -> None:
        self._plan = plan
        self._prompts = prompts
        self._children: list[int] = []
        port = _free_port() if plan.processes > 1 else 0
        for _ in range(plan.processes if plan.processes > 1 else 0):
            child = gevent.fork()
            if not child:
                self._serve(port)
            self._children.append(child)
        self.environment, users = self._environment()
        self.runner: Runner
        if self._children:
            self.runner = self.environment.create_master_runner("127.0.0.1", port)
        else:
            self.runner = self.environment.create_local_runner()
            self._start(Worker(plan, prompts, self.environment, self.runner), users)
        self._runs = 0
        self.conductor = Conductor(plan)
        self.runner.register_message("report", self._on_report)

    def run(self, tell: Callable[[str], None], watch: Callable[[Conductor], None]) -> Conductor:
        """Carry the plan out; `watch` is called twice a second meanwhile.

        Raises:
            NotReady: The processes did not start.
        """
        conductor = self.take(tell)
        self._wait_for_children(_READY_WITHIN)
        self.runner.start_shape()
        self.watch(conductor, watch)
        return conductor

    def take(self, tell: Callable[[str], None]) -> Conductor:
        """A new conductor, which leads the next run that starts."""
        self._runs += 1
        self.conductor = self.environment.shape_class = Conductor(self._plan, self._runs, tell)
        self.conductor.runner = self.runner
        return self.conductor

    def watch(self, conductor: Conductor, watch: Callable[[Conductor], None]) -> None:
        """Wait for the end of a run that was started."""
        shape = self.runner.shape_greenlet
        with _interrupts(conductor):
            while shape is not None and not shape.ready():
                shape.join(0.5)
                watch(conductor)
            conductor.finish()
            self.runner.stop()

    def close(self) -> None:
        """End all processes that were started."""
        # Locust forgets a process that has stopped until it is ready again, and can tell it nothing meanwhile.
        with suppress(NotReady):
            self._wait_for_children(_STOP_WITHIN)
        self.runner.quit()
        for child in self._children:
            if not _ends(child):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        self._children.clear()

    def _on_report(self, environment: Any, msg: Any) -> None:
        self.conductor.on_report(msg.data)

    def _environment(self) -> tuple[Environment, Any]:
        users: Any = users_of(open_loop=self._plan.open_loop)
        environment = Environment(user_classes=[users], host=self._plan.url)
        return environment, users

    @staticmethod
    def _start(worker: Worker, users: Any) -> None:
        users.worker = worker
        gevent.spawn(worker.work)

    def _serve(self, port: int) -> None:
        """What a sending process does, until the leading one says that it is over."""
        status = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # the leading process decides
            environment, users = self._environment()
            runner = environment.create_worker_runner("127.0.0.1", port)
            self._start(Worker(self._plan, self._prompts, environment, runner), users)
            runner.greenlet.join()
            status = 0
        finally:
            os._exit(status)

    def _wait_for_children(self, seconds: float) -> None:
        if isinstance(self.runner, MasterRunner):
            with gevent.Timeout(seconds, NotReady("the sending processes did not start")):
                while len(self.runner.clients.ready) < self._plan.processes:
                    gevent.sleep(0.05)


@contextmanager
def _interrupts(conductor: Conductor) -> Iterator[None]:
    """The first interrupt ends the run with a report; the second ends the process."""

    def stop() -> None:
        if conductor.stopped:
            os._exit(130)
        conductor.interrupt("interrupted")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = [gevent.signal_handler(number, stop) for number in before]
    try:
        yield
    finally:
        for handler in handlers:
            handler.cancel()
        for number, previous in before.items():
            signal.signal(number, previous)  # else what comes after would be killed without a word


def with_page(engine: Engine, port: int) -> None:
    """Serve locust's own page, on this machine only.

    Raises:
        OSError: The port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    del sys.argv[1:]  # the page takes the options of the process for locust's own
    gevent.spawn(stats_history, engine.runner)
    engine.environment.create_web_ui(host="127.0.0.1", port=port)


def _ends(child: int) -> bool:
    """Whether a process ends by itself, now that it was told to."""
    patience = clock() + _STOP_WITHIN
    while clock() < patience:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return True
        gevent.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
