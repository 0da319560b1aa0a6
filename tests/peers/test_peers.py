"""The kit against servers that others wrote: a status for everything, soon, and each FAIL read by hand."""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from peers import page
from peers.foreign import KEY, PEERS
from servers import CHAT, EMBED, running

FOLDER = Path("build", "peers")
BOUND = 600  # seconds; a slow model that is not cut where it should be writes long answers
OURS = {
    "echo": ("ours, model `echo`", ("--model", "echo"), ("--profile", "all")),
    "default": ("ours, default models", (), ("--model", CHAT, "--embedding-model", EMBED, "--profile", "all")),
}


def judge(name, version, url, *options, key=None):
    """Run the kit; return its exit code, the document and the seconds that it took."""
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    (FOLDER / name / "version.txt").write_text(version, encoding="utf-8")
    started = time.monotonic()
    command = [sys.executable, "-m", "specserve", "conform", url, *options, "--max-time", str(BOUND)]
    environ = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    done = subprocess.run(
        [*command, "--report", FOLDER / name],
        check=False,
        env=environ | ({"OPENAI_API_KEY": key} if key else {}),
    )
    document = json.loads((FOLDER / name / "results.json").read_text(encoding="utf-8"))
    return done.returncode, document, time.monotonic() - started


@pytest.fixture(scope="session")
def home():
    place = Path(os.environ["SPECSERVE_TEST_PEERS"]).resolve()
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture(scope="session")
def ours():
    with running() as server:
        yield server


def test_ours_on_echo_is_conformant():
    what, serve, options = OURS["echo"]
    with running(*serve) as server:
        code, _, _ = judge("echo", f"{what}, {version('specserve')}", f"{server.url}/v1", *options)
    assert code == 0


@pytest.mark.timeout(2 * BOUND)
def test_ours_on_the_default_models_is_conformant(ours):
    what, _, options = OURS["default"]
    code, _, _ = judge("default", f"{what}, {version('specserve')}", f"{ours.url}/v1", *options)
    assert code == 0


@pytest.mark.timeout(3 * 3600)  # two cores compile for long
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_gets_a_status_for_everything(name, home, request):
    with PEERS[name](home, lambda: request.getfixturevalue("ours").url) as peer:
        code, document, seconds = judge(name, peer.version, peer.url, "--model", CHAT, *peer.options, key=KEY)
    assert code in {0, 1}
    assert seconds < BOUND + 60
    assert not [row["id"] for row in document["requirements"] if row["status"] in {"ERROR", "NOT_RUN"}]
    unread = set(page.broken(document)) - set(page.confirmed().get(name, {}))
    assert not unread, "read these by hand against the contract, then note them in confirmed.yaml"


def test_the_page_is_written():
    names = [name for name in (*OURS, *PEERS) if (FOLDER / name / "results.json").exists()]
    page.write(names, FOLDER)
    assert page.BEGIN in page.PAGE.read_text(encoding="utf-8")
