"""The command, as people and programs use it."""

import csv
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.resources import files
from xml.etree import ElementTree as ET

import httpx
import jsonschema
import pytest
from keys import KEY

SCHEMA = json.loads(files("specserve.loadtest").joinpath("results.schema.json").read_text())


def results(folder):
    document = json.loads((folder / "results.json").read_text())
    jsonschema.validate(document, SCHEMA)
    return document


@pytest.fixture(scope="module")
def stages(load, paced, tmp_path_factory):
    """Two stages of an open loop, with objectives that hold and one that cannot."""
    folder = tmp_path_factory.mktemp("stages")
    slo = ("--slo", "ttft_token:p50<10s", "--slo", "error_rate<1%", "--slo", "ttft_token:p50<1ms")
    done = load(paced, "--model", "stub", "--rate", "10,20", "--max-lag", 9, *slo, "--report", folder)
    return done, folder


def test_an_objective_that_is_missed_is_an_exit_code_of_1(stages):
    done, folder = stages
    assert done.returncode == 1, done.stdout + done.stderr
    assert results(folder)["verdict"] == "missed"
    assert len(done.stdout.splitlines()) <= 24


def test_the_reports_agree(stages):
    _, folder = stages
    document = results(folder)
    rows = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    for stage in document["stages"]:
        mine = [row for row in rows if row["stage"] == stage["index"] + 1 and row["measured"]]
        assert stage["requests"]["due"] == len(mine) > 0
        firsts = sorted(row["figures"]["ttft_token"] for row in mine)
        assert stage["latency"]["ttft_token"]["max"] == pytest.approx(firsts[-1], abs=1e-5)
    with (folder / "stages.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["load"]) for row in table] == [10, 20]
    assert float(table[0]["e2e_p50"]) == document["stages"][0]["latency"]["e2e"]["p50"]
    suites = ET.parse(folder / "junit.xml").getroot()
    assert len(suites.findall(".//failure")) == int(suites.get("failures")) == 2
    assert len(suites.findall(".//testcase")) == int(suites.get("tests")) == 8


def test_requests_are_sent_when_they_are_due_and_never_before(stages):
    _, folder = stages
    rows = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert all(row["sent"] >= row["scheduled"] for row in rows)


def test_a_stream_is_seen_at_the_pace_that_it_has(stages):
    _, folder = stages
    for stage in results(folder)["stages"]:
        # The stub sends the first chunk after 50 ms and the eighth 70 ms later: nothing can come before.
        assert stage["latency"]["ttft_token"]["min"] >= 0.05
        assert stage["latency"]["e2e"]["min"] >= 0.12
        assert stage["tokens"]["source"] == "usage"


def test_the_page_needs_nothing_from_elsewhere(stages):
    page = (stages[1] / "report.html").read_text()
    assert page.count("<svg") == 7
    assert "src=" not in page
    assert "@import" not in page
    assert 'href="http' not in page


def test_no_report_holds_the_key(stages):
    done, folder = stages
    assert KEY not in done.stdout
    for path in folder.iterdir():
        assert KEY not in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def users(load, paced, tmp_path_factory):
    """A closed loop in two processes."""
    folder = tmp_path_factory.mktemp("users")
    done = load(paced, "--model", "stub", "--users", 4, "--processes", 2, "--calibration", "--report", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, results(folder)


def test_users_wait_for_their_answers_in_several_processes(users):
    folder, document = users
    (stage,) = document["stages"]
    assert document["verdict"] == "measured"
    assert stage["in_flight"]["max"] == 4
    assert stage["rates"]["offered_per_s"] is None
    rows = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert {row["process"] for row in rows} == {0, 1}
    assert len({row["request"] for row in rows}) == len(rows)


def test_our_own_error_stands_in_the_report(users):
    folder, document = users
    calibration = document["calibration"]
    assert calibration["requests"] > 0
    assert calibration["first_token"]["count"] == calibration["requests"]
    assert "wrong by" in (folder / "report.html").read_text()


def test_our_own_error_is_of_several_requests_where_one_is_slow(load, slow, tmp_path):
    load(slow, "--model", "stub", "--users", 1, "--warmup", 0, "--calibration", "--report", tmp_path)
    calibration = results(tmp_path)["calibration"]
    assert calibration["first_token"]["count"] == calibration["requests"] >= 3


def test_failures_are_told_by_class(load, faulty, tmp_path):
    done = load(
        faulty,
        "--model",
        "burst",
        "--users",
        1,
        "--max-requests",
        20,
        "--warmup",
        0,
        "--duration",
        60,
        "--report",
        tmp_path,
    )
    stage = results(tmp_path)["stages"][0]
    assert stage["requests"]["errors"]["http 429"] == stage["requests"]["failed"] > 0
    assert "http 429" in done.stdout
    assert "cap of 20 requests" in done.stdout


def test_a_cap_is_never_passed(load, paced, tmp_path):
    load(paced, "--model", "stub", "--rate", 200, "--max-requests", 30, "--report", tmp_path)
    document = results(tmp_path)
    rows = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert len(rows) == document["spent"]["requests"] == 30


def test_an_interrupt_still_writes_the_report(load_in_background, paced, tmp_path):
    screen, terminal = pty.openpty()
    options = ("--users", 2, "--duration", 60, "--report", tmp_path)
    process = load_in_background(paced, "--model", "stub", *options, stdout=terminal)
    os.close(terminal)
    shown, interrupted = "", False
    with suppress(OSError):  # which is how a terminal says that its last program has ended
        while True:
            shown += os.read(screen, 4096).decode(errors="replace")
            if not interrupted and re.search(r"s left: \d+ in flight, [1-9]\d* done, first token", shown):
                process.send_signal(signal.SIGINT)
                interrupted = True
    os.close(screen)
    assert process.wait(60) == 3, shown
    assert "stage 1" in shown
    document = results(tmp_path)
    assert document["stopped"] == "interrupted"
    assert document["stages"][0]["requests"]["succeeded"] > 0


def test_a_sweep_of_a_file_goes_up(load, paced, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "one"}\n{"prompt": "two", "output_tokens": 3}\n')
    done = load(paced, "--model", "stub", "--users", 1, "--shape", "sweep", "--steps", 2, "--dataset", rows,
                "--report", tmp_path / "out")  # fmt: skip
    assert done.returncode == 0, done.stdout
    document = results(tmp_path / "out")
    assert [stage["load"] for stage in document["stages"]] == [1, 2]
    lines = [json.loads(line) for line in (tmp_path / "out" / "requests.jsonl").read_text().splitlines()]
    assert {(line["request"] % 2, line["completion_tokens"]) for line in lines} == {(0, 8), (1, 3)}


def test_the_page_starts_runs(load, load_in_background, paced, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--ui", "--ui-port", port, "--report", tmp_path)
    process = load_in_background(paced, "--model", "stub", "--users", 2, "--duration", 0.5, *options)
    assert "press Start" in process.stdout.readline()
    taken = load(paced, "--model", "stub", "--users", 1, "--ui", "--ui-port", port)
    assert taken.returncode == 2
    assert "in use" in taken.stderr
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as page:
        assert "locust" in page.get("/").text.lower()
        assert page.post("/swarm", data={"user_count": 1, "spawn_rate": 1}).json()["success"]
        for line in process.stdout:
            if line.startswith("report:"):
                break
        assert results(tmp_path)["verdict"] == "measured"
        rows = page.get("/stats/requests").json()["stats"]
        counts = {row["name"]: row["num_requests"] for row in rows}
        assert counts["/chat/completions"] == counts["Aggregated"] == counts["first token"] > 0
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_server_that_cannot_be_reached_is_inconclusive(load, faulty):
    for url, model in (("http://127.0.0.1:9/v1", "m"), (faulty, "500")):
        done = load(url, "--model", model, "--users", 1)
        assert done.returncode == 3
        assert len(done.stdout.strip().splitlines()) == 1
        assert "inconclusive" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["http://127.0.0.1:9/v1", "--users", "1"],
        ["http://127.0.0.1:9/v1", "--model", "m"],
        ["http://127.0.0.1:9/v1", "--model", "m", "--users", "1", "--rate", "1"],
        ["http://127.0.0.1:9/v1", "--model", "m", "--users", "x"],
        ["http://127.0.0.1:9/v1", "--model", "m", "--users", "1", "--slo", "fast"],
        ["http://127.0.0.1:9/v1", "--model", "m", "--users", "1", "--max-usd", "1"],
        ["http://127.0.0.1:9/v1", "--model", "m", "--users", "1", "--dataset", "/no/file"],
        ["http://127.0.0.1:9/v1", "--model", "m", "--users", "1", "--extra-body", "[]"],
        ["http://10.255.255.1/v1", "--model", "m", "--users", "1"],
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(load, arguments):
    done = load(*arguments)
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_server_elsewhere_needs_a_yes(load):
    assert "--i-pay" in load("http://192.0.2.1/v1", "--model", "m", "--users", 1).stderr


def test_the_command_line_alone_leaves_the_process_as_it_is():
    program = (
        "import socket, sys\n"
        "before = socket.socket\n"
        "import specserve.loadtest.cli\n"
        "assert not {'gevent', 'locust', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "assert socket.socket is before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_missing_extra_is_one_line():
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'locust': raise ModuleNotFoundError('No module', name='locust')\n"
        "sys.meta_path.insert(0, Block())\n"
        "import specserve.cli.main\n"
        "sys.argv = ['specserve', 'load', 'http://127.0.0.1:9/v1', '--model', 'm', '--users', '1']\n"
        "specserve.cli.main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "pip install 'specserve[loadtest]'" in line
