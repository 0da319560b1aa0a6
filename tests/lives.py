"""Servers whose models come and go, for the tests of that."""

import asyncio
import json
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
from servers import running

ADMIN = {"Authorization": "Bearer sk-admin"}
TESTS = str(Path(__file__).parent)


class Lives:
    """A server with moody models, and its configuration."""

    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "specserve.toml"
        self.server = None

    def mood(self, model, **mood):
        """Say how the next load of a model goes."""
        path = self._source(model)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(mood))
        fresh.replace(path)
        return path

    def _source(self, model):
        return self.folder / f"{model.replace('/', '-')}.json"

    def write(self, *models, **settings):
        """Write the configuration: models as ids or tables."""
        lines = ['admin_keys = ["sk-admin"]']
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        for model in models:
            table = {"id": model} if isinstance(model, str) else dict(model)
            source = self._source(table["id"])
            if not source.exists():
                self.mood(table["id"])
            table = {"backend": "moody_backend:Moody", "source": str(source)} | table
            lines.append("[[models]]")
            lines += [f"{key} = {toml(value)}" for key, value in table.items()]
        self.config.write_text("\n".join(lines) + "\n")

    @contextmanager
    def running(self, *models, **settings):
        self.write(*models, **settings)
        with running("--config", str(self.config), environ={"PYTHONPATH": TESTS}) as self.server:
            yield self

    @contextmanager
    def serving(self, *models, **settings):
        """Have the server that runs serve other models."""
        self.write(*models, **settings)
        self.hang_up()
        tables = [{"id": model} if isinstance(model, str) else model for model in models]
        # One that is unloaded when idle may be so before it is looked at.
        later = {"load", "unload_after_seconds"}
        early = [table["id"] for table in tables if not later & table.keys() and "*" not in table["id"]]
        assert until(lambda: all(self.states()[model] in {"loaded", "failed"} for model in early))
        yield self

    def forget(self):
        """Have the server that runs serve nothing that a test knows of."""
        with self.serving({"id": "nobody", "load": "manual"}):
            used = {path.name.removesuffix(".json") for path in self.folder.glob("*.json")}
            assert until(lambda: all(loads == unloads for loads, unloads in map(self.loads, used)))
            for path in self.folder.glob("*.json*"):
                path.unlink()

    def loads(self, model):
        """Loads and unloads that came to their end so far, as (loads, unloads)."""
        log = self._source(model).with_suffix(".json.log")
        text = log.read_text() if log.exists() else ""
        return text.count("+"), text.count("-")

    def client(self):
        return httpx.AsyncClient(
            base_url=self.server.url, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None)
        )

    def states(self):
        models = httpx.get(f"{self.server.url}/v1/models", timeout=60, trust_env=False).json()["data"]
        return {model["id"]: model["state"] for model in models if "alias_of" not in model}

    def model(self, model):
        """What is told of one model."""
        return httpx.get(f"{self.server.url}/v1/models/{model}", timeout=60, trust_env=False).json()

    def ask(self, model, text="hello", **more):
        return httpx.post(f"{self.server.url}/v1/chat/completions", json=body(model, text, **more), timeout=60)

    def change(self, model, verb, headers=ADMIN):
        return httpx.post(f"{self.server.url}/v1/models/{model}/{verb}", headers=headers, timeout=60)

    def hang_up(self):
        """Have the configuration read again; return when that is done."""
        seen = self.answers()
        os.kill(self.server.process.pid, signal.SIGHUP)
        assert until(lambda: self.answers() > seen), "".join(self.server.output)

    def answers(self):
        return sum("the configuration" in line for line in self.server.output)

    def said(self, text):
        return [line for line in self.server.output if text in line]


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def body(model, text="hello", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def content(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


async def become(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to be")
