"""The command, as people and programs use it."""

import json
import subprocess
import sys
from importlib.resources import files
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from specserve.conformance.report.document import make
from specserve.conformance.report.html import html

KEY = "key-for-the-golden-server"


def conform(*arguments, key=KEY):
    return subprocess.run(
        [sys.executable, "-m", "specserve", "conform", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env={"PATH": "/usr/bin:/bin", "OPENAI_API_KEY": key, "COLUMNS": "120"},
    )


@pytest.fixture(scope="module")
def report(golden_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    done = conform(f"{golden_server.url}/v1", "--profile", "embeddings", "--profile", "tools", "--report", folder)
    return done, folder


def test_a_good_server_is_conformant_and_the_summary_fits_a_screen(report):
    done, _ = report
    assert done.returncode == 0, done.stdout + done.stderr
    assert "strict (the contract): conformant" in done.stdout
    assert len(done.stdout.splitlines()) <= 24


def test_the_reports_are_whole_and_hold_no_key(report):
    _, folder = report
    names = {path.name for path in folder.iterdir()}
    assert names == {"results.json", "junit.xml", "report.html", "summary.md", "badge.json"}
    for path in folder.iterdir():
        assert KEY not in path.read_text(encoding="utf-8")
    document = json.loads((folder / "results.json").read_text())
    schema = json.loads(files("specserve.conformance").joinpath("results.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert "src=" not in (folder / "report.html").read_text()


def test_junit_has_real_children(report):
    _, folder = report
    root = ET.parse(folder / "junit.xml").getroot()
    skipped = root.findall(".//skipped")
    assert len(skipped) == int(root.get("skipped")) > 0
    assert len(root.findall(".//testcase")) == int(root.get("tests"))


def test_a_page_shows_markup_of_the_server_as_text(golden_run):
    golden_run.answers["models.list"].body = b"<script>alert(1)</script>"
    assert "<script>alert(1)" not in html(make(golden_run))


def test_a_plan_sends_nothing():
    done = conform("http://127.0.0.1:9/v1", "--plan")
    assert done.returncode == 0
    assert "nothing was sent" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["ftp://x"],
        ["http://x", "--profile", "no"],
        ["http://x", "--max-usd", "1"],
        ["http://x", "--only", "no.such"],
        ["http://x", "--target", "/no/file"],
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(arguments):
    done = conform(*(["run"] if not arguments else []), *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_nobody_listening_is_inconclusive():
    done = conform("http://127.0.0.1:9/v1")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_a_budget_leaves_the_rest_not_run(golden_server):
    done = conform(f"{golden_server.url}/v1", "--max-requests", "3")
    assert done.returncode == 3
    assert "NOT_RUN" in done.stdout


def test_a_baseline_forgives_what_is_known_and_tells_what_is_stale(report, golden_server, tmp_path):
    _, folder = report
    document = json.loads((folder / "results.json").read_text())
    document["requirements"][0]["status"] = "FAIL"
    stale = tmp_path / "results.json"
    stale.write_text(json.dumps(document))
    done = conform(f"{golden_server.url}/v1", "--baseline", stale, "--only", document["requirements"][0]["id"])
    assert done.returncode == 1
    assert "stale: http.message-complete" in done.stdout


def test_two_servers_make_one_matrix(report):
    _, folder = report
    done = conform("compare", folder / "results.json", folder / "results.json")
    assert done.returncode == 0
    assert "| **strict** |" in done.stdout


def test_pytest_runs_the_kit(golden_server, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--pyargs",
            "specserve.conformance",
            "--base-url",
            f"{golden_server.url}/v1",
            "-q",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "OPENAI_API_KEY": KEY},
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "passed" in done.stdout
