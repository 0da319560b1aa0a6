"""Engines that break in every way, and requests that wait for them: all are told, and the engine comes back."""

import asyncio
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from lives import TESTS, become, body, until
from servers import running

KILLS = int(os.environ.get("SPECSERVE_TEST_KILLS", "3"))
STREAMS = 6
GONE = "is lost: its process"
BACK = "runs again, as process"


class Babble:
    """A server with one babbling model."""

    def __init__(self, server, folder):
        self.server = server
        self.folder = folder

    @property
    def pid(self):
        """The engine's process, once there is one."""
        children = psutil.Process(self.server.process.pid).children()
        return next((child.pid for child in children if "babbling_worker" in " ".join(child.cmdline())), None)

    def health(self):
        return self.server.health()

    def said(self, text):
        return sum(text in line for line in self.server.output)

    def well(self):
        health = self.health()
        return health["status"] == "ok" and health["num_requests_running"] == health["num_requests_waiting"] == 0

    def ask(self, text="hello", **more):
        return httpx.post(
            f"{self.server.url}/v1/chat/completions", json=body("babble", text, **{"max_tokens": 9, **more}), timeout=60
        )

    def state(self):
        model = httpx.get(f"{self.server.url}/v1/models/babble", timeout=60).json()
        return model["state"], model.get("load_error")


@contextmanager
def babbling(folder, environ=(), **settings):
    (folder / "model").mkdir()
    config = folder / "specserve.toml"
    lines = [f"{name} = {value!r}" for name, value in {"engine_silence_seconds": 1, **settings}.items()]
    lines += ["[[models]]", 'id = "babble"', 'backend = "babbling_backend:Babbling"', f'source = "{folder / "model"}"']
    config.write_text("\n".join(lines) + "\n")
    with running("--config", str(config), environ={"PYTHONPATH": TESTS, **dict(environ)}) as server:
        yield Babble(server, folder / "model")


@pytest.fixture
def babble(tmp_path):
    with babbling(tmp_path) as babble:
        yield babble


async def stream(client, text="hello"):
    """How a stream ended: done, an error event, a refusal, or broken off."""
    asked = body("babble", text, stream=True, max_tokens=400)
    async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        lines = [line async for line in response.aiter_lines()]
    if response.status_code != 200:
        return f"refused {response.status_code}"
    said = [line for line in lines if line.startswith("data: ")]
    if said and said[-1] == "data: [DONE]":
        return "done"
    return "error" if said and '"error"' in said[-1] else "broken off"


def test_an_engine_that_is_killed_again_and_again_under_load_always_comes_back(babble):
    outcomes = []

    async def run():
        over = asyncio.Event()

        async def client_that_goes_on(client):
            while not over.is_set():
                outcomes.append(await stream(client))
                await asyncio.sleep(0.02)

        async with httpx.AsyncClient(base_url=babble.server.url, timeout=60, trust_env=False) as client:
            clients = [asyncio.create_task(client_that_goes_on(client)) for _ in range(STREAMS)]
            for kill in range(KILLS):
                await become(lambda: babble.health()["num_requests_running"] > 0)
                os.kill(babble.pid, signal.SIGKILL)
                await become(lambda kill=kill: babble.said(BACK) == kill + 1)
            over.set()
            await asyncio.wait_for(asyncio.gather(*clients), 60)

    asyncio.run(run())
    assert until(babble.well), babble.health()
    assert babble.said(GONE) == babble.said(BACK) == KILLS
    assert set(outcomes) <= {"done", "error", "refused 500", "refused 503"}, set(outcomes)
    assert outcomes.count("error") + outcomes.count("refused 500") >= KILLS
    assert babble.state() == ("loaded", None)
    assert babble.ask().status_code == 200


def test_an_engine_that_is_killed_while_it_restarts_shows_as_failed_and_recovers_by_itself(babble):
    (babble.folder / "refuse").touch()
    os.kill(babble.pid, signal.SIGKILL)
    assert until(lambda: babble.said("cannot be started again") >= 2)
    assert babble.health()["status"] == "degraded"
    state, why = babble.state()
    assert state == "failed"
    assert "could not be started again yet" in why
    refused = babble.ask()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    (babble.folder / "refuse").unlink()
    assert until(babble.well)
    assert babble.ask().status_code == 200


@pytest.mark.parametrize("how", ["garbage", "nonsense", "huge", "deadlock"])
def test_whatever_an_engine_says_or_does_not_say_its_requests_end_and_it_is_replaced(babble, how):
    failed = babble.ask(how)
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "engine_failure")
    assert until(lambda: babble.said(BACK) == 1)
    assert babble.ask().status_code == 200
    assert babble.well()


def test_an_engine_that_is_stopped_is_found_out_also_when_it_is_idle(babble):
    first = babble.pid
    os.kill(first, signal.SIGSTOP)
    assert until(lambda: babble.said(BACK) == 1)
    assert babble.said("sent nothing for") == 1
    assert babble.pid != first
    assert babble.ask().status_code == 200


def test_an_engine_sees_no_keys_and_ends_when_its_server_is_killed(tmp_path):
    secrets = {
        "SPECSERVE_API_KEYS": "sk-one",
        "SPECSERVE_ADMIN_KEYS": "sk-two",
        "AWS_SECRET_ACCESS_KEY": "three",
        "HF_TOKEN": "four",
        "ACME_TOKEN": "five",
        "DATABASE_URL": "six",
    }
    with babbling(tmp_path, environ=secrets, engine_environment=["ACME_*"]) as babble:
        engine = psutil.Process(babble.pid)
        names = {entry.partition(b"=")[0].decode() for entry in _environment(engine.pid)}
        assert not names & (secrets.keys() - {"ACME_TOKEN"})
        assert {"PATH", "PYTHONPATH", "ACME_TOKEN"} <= names
        engine.suspend()  # it cannot see the end of its input
        os.kill(babble.server.process.pid, signal.SIGKILL)
        assert until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def _environment(pid):
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_a_request_that_takes_too_long_is_ended_and_frees_everything(tmp_path):
    with babbling(tmp_path, request_timeout_seconds=1) as babble:
        plain = babble.ask(max_tokens=900)
        assert (plain.status_code, plain.json()["error"]["code"]) == (504, "deadline_exceeded")
        streamed = babble.ask(max_tokens=900, stream=True)
        assert streamed.status_code == 200
        assert "deadline_exceeded" in streamed.text
        assert "[DONE]" not in streamed.text
        assert until(babble.well)


def test_a_request_waits_for_its_turn_only_so_long(tmp_path):
    with babbling(tmp_path, max_wait_seconds=0.5, max_concurrent_requests=1, request_timeout_seconds=4) as babble:

        async def run():
            async with httpx.AsyncClient(base_url=babble.server.url, timeout=60, trust_env=False) as client:
                long = asyncio.create_task(client.post("/v1/chat/completions", json=body("babble", max_tokens=900)))
                await become(lambda: babble.health()["num_requests_running"] == 1)
                late = await client.post("/v1/chat/completions", json=body("babble"))
                assert (late.status_code, late.json()["error"]["code"]) == (429, "server_overloaded")
                await long

        asyncio.run(run())
        assert until(babble.well)


def test_a_busy_thread_does_not_outlast_the_servers_grace(tmp_path):
    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text(
        "import asyncio, time\nfrom specserve.backends.echo import Echo\n"
        "class Sleeper(Echo):\n"
        "    async def start(self):\n"
        "        await super().start()\n"
        "        asyncio.get_running_loop().run_in_executor(None, time.sleep, 500)\n"
    )
    config = tmp_path / "specserve.toml"
    config.write_text('shutdown_grace_seconds = 1\n[[models]]\nid = "s"\nbackend = "sleeper:Sleeper"\n')
    with running("--config", str(config), environ={"PYTHONPATH": str(tmp_path)}) as server:
        os.kill(server.process.pid, signal.SIGTERM)
        assert until(lambda: server.process.poll() is not None)
        assert server.process.returncode == 0
        assert until(lambda: any("a thread still ran" in line for line in server.output))


def test_a_hang_up_with_a_pipe_or_a_huge_file_for_its_configuration_changes_nothing(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text('models = ["echo"]\n')
    with running("--config", str(config)) as server:
        for number, make in enumerate((lambda: os.mkfifo(config), lambda: config.write_text("#" * 2_000_000)), 1):
            config.unlink()
            make()
            os.kill(server.process.pid, signal.SIGHUP)
            assert until(lambda number=number: sum("nothing has changed" in line for line in server.output) == number)
            assert server.health()["status"] == "ok"
