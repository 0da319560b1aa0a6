"""What becomes of a stream that is not as it should be."""

import json
import subprocess
import sys
from pathlib import Path

import faulty as server
import pytest

CLASSES = {
    "good": None,
    "two-tokens-a-chunk": None,
    "no-usage": None,
    "comments": None,
    "reasoning": None,
    "pause": None,
    "unframed-good": None,
    "hangs-after-done": None,
    "closes-idle": None,
    "cut": "cut",
    "cut-after-text": "cut",
    "unframed-cut": "cut",
    "unframed-no-done": "no_done",
    "garbage": "cut",
    "no-done": "no_done",
    "bad-json": "bad_json",
    "not-an-object": "bad_json",
    "error-event": "error_event",
    "empty": "empty",
    "total-wrong": "usage_mismatch",
    "over-the-limit": "usage_mismatch",
    "text-without-tokens": "usage_mismatch",
    "page": "not_a_stream",
    "stalled": "timeout",
    "stalled-before-headers": "timeout",
    "429": "http 429",
    "500": "http 500",
    "echo-key": "http 401",
}
TWICE = ["closes-idle", "good", "hangs-after-done", "burst", "unframed-good"]


@pytest.fixture(scope="module")
def samples(faulty):
    command = [sys.executable, Path(__file__).with_name("classify.py"), faulty, *CLASSES, *TWICE, "burst"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", CLASSES)
def test_each_fault_has_its_class(samples, model):
    assert samples[model][0]["class"] == CLASSES[model], samples[model][0]["detail"]


def test_a_burst_of_refusals_is_told_from_answers_on_one_connection(samples):
    assert [one["class"] for one in samples["burst"]] == [None, "http 429"]


def test_a_chunk_without_text_is_an_event_but_no_token(samples):
    sample = samples["good"][0]
    assert len(sample["tokens_at"]) == server.TOKENS
    assert sample["first_event"] <= sample["tokens_at"][0]
    assert sample["chunks"] == server.TOKENS + 3


def test_thoughts_are_tokens_too(samples):
    assert len(samples["reasoning"][0]["tokens_at"]) == server.TOKENS + 1


def test_two_tokens_a_chunk_are_counted_by_usage(samples):
    sample = samples["two-tokens-a-chunk"][0]
    assert sample["completion_tokens"] == 2 * len(sample["tokens_at"])
    spread = sample["tokens_at"][-1] - sample["tokens_at"][0]
    assert sample["figures"]["tpot"] == pytest.approx(spread / (2 * server.TOKENS - 1))


def test_without_usage_there_are_no_counts(samples):
    assert samples["no-usage"][0]["completion_tokens"] is None


def test_a_pause_is_a_gap(samples):
    gaps = sorted(samples["pause"][0]["gaps"])
    assert gaps[-1] >= 0.4 > gaps[-2]


def test_moments_are_in_order(samples):
    for name in ("good", "comments", "no-usage", "unframed-good"):
        one = samples[name][0]
        moments = [one["sent"], one["connected"], one["first_byte"], one["first_event"], *one["tokens_at"], one["done"]]
        assert moments == sorted(moments)


def test_a_connection_is_used_again_unless_the_server_gave_it_up(samples):
    assert [one["reused"] for one in samples["good"]] == [False, True]
    assert [one["reused"] for one in samples["closes-idle"]] == [False, False]
    assert [one["reused"] for one in samples["unframed-good"]] == [False, False]
    assert [one["reused"] for one in samples["hangs-after-done"]] == [False, False]
    assert samples["closes-idle"][1]["class"] is None


def test_a_failure_has_no_figures(samples):
    assert all(one["figures"] == {} for many in samples.values() for one in many if one["class"])


def test_the_detail_of_an_error_holds_no_key(samples):
    assert "key-of-the-test" not in samples["echo-key"][0]["detail"]
    assert "Bearer ***" in samples["echo-key"][0]["detail"]


def test_nobody_listening_is_a_failed_connection():
    command = [sys.executable, Path(__file__).with_name("classify.py"), "http://127.0.0.1:9/v1", "good"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["good"][0]["class"] == "connect"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a packet came")
def test_what_is_read_late_still_came_when_it_came(faulty):
    command = [sys.executable, Path(__file__).with_name("late.py"), faulty]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    assert done["moments"]
    assert all(done["sent"] < moment < done["woken"] for moment in done["moments"])
