"""schemathesis against the running server, with all its phases."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import CHAT, EMBED, running

HOOKS = Path(__file__).parent / "fuzz_hooks.py"
CONFIG = Path(__file__).parent / "schemathesis.toml"


def fuzz(url, folder, models, *options):
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", f"{url}/openapi.json", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=580,
        cwd=folder,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": str(HOOKS),
            "FUZZ_CHAT_MODEL": models[0],
            "FUZZ_EMBEDDING_MODEL": models[1],
        },
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("server", "models", "options"),
    [
        ("echo_server", ("echo", "echo"), ()),
        # A real model takes its time: fewer of the cases that echo has stood already, unless more are asked for.
        ("default_server", (CHAT, EMBED), ("--max-examples", os.environ.get("SPECSERVE_TEST_FUZZ_EXAMPLES", "10"))),
        ("relay_server", ("relayed", "relayed"), ()),
    ],
)
def test_no_5xx_no_undocumented_status_no_schema_violation(request, tmp_path, server, models, options):
    fuzz(request.getfixturevalue(server).url, tmp_path, models, *options)


def test_nor_when_an_administrator_loads_and_unloads(tmp_path):
    with running(
        "--model", "echo", "--validate-responses", "--api-key", "sk-user", "--admin-key", "sk-admin"
    ) as server:
        admin = ("--header", "Authorization: Bearer sk-admin", "--include-path-regex", "models|health")
        fuzz(server.url, tmp_path, ("echo", "echo"), *admin)
