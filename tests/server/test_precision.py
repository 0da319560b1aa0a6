"""The server computes exactly unless told otherwise, and says with which numbers it computes."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import CHAT, EMBED, running

QUESTIONS = (
    "What is the capital of France?",
    "Name three rivers of Europe.",
    "Why is the sky blue?",
    "Write a sentence about the sea.",
    "How many legs does a spider have?",
    "What is photosynthesis?",
    "Give me a recipe for pancakes.",
    "Who wrote Hamlet?",
    "Explain gravity to a child.",
    "What does a compiler do?",
    "List the planets of the solar system.",
    "Tell me about the history of bread.",
)
EXACT = {"exact": True, "compute": "f32", "kv_cache": "f32", "dynamic_quantization": False}


def answer(client, question):
    body = {"model": CHAT, "messages": [{"role": "user", "content": question}], "max_tokens": 40, "temperature": 0}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


def test_greedy_answers_are_the_same_three_times_idle_and_beside_eight_others(default):
    first = [answer(default, question) for question in QUESTIONS]
    assert len(set(first)) == len(QUESTIONS)
    again = [answer(default, question) for question in QUESTIONS]  # their prompts are in the prefix cache now
    started, done = queue.SimpleQueue(), threading.Event()

    def busy(number):
        while not done.is_set():
            story = [{"role": "user", "content": f"Write a long story about the number {number}."}]
            body = {"model": CHAT, "messages": story, "max_tokens": 1000, "ignore_eos": True, "stream": True}
            with default.stream("POST", "/v1/chat/completions", json=body) as stream:
                for line in stream.iter_lines():
                    started.put(line)
                    if done.is_set():
                        break

    with ThreadPoolExecutor(8) as threads:
        busies = [threads.submit(busy, number) for number in range(8)]
        try:
            for _ in range(8 * 10):  # lines, which come from all of them in turn
                started.get(timeout=120)
            beside = [answer(default, question) for question in QUESTIONS]
        finally:
            done.set()
        for each in busies:
            each.result()
    assert again == first
    assert beside == first


def test_the_list_of_models_and_the_announcement_tell_the_precision(default_server, default):
    models = {model["id"]: model for model in default.get("/v1/models").json()["data"]}
    assert models[CHAT]["capabilities"]["precision"] == EXACT
    assert models[EMBED]["capabilities"]["precision"] == EXACT | {"kv_cache": None}
    said = "".join(default_server.output)
    assert f"{CHAT}  chat completion, completion; exact (f32)" in said


def test_a_server_that_computes_nothing_itself_tells_no_precision(echo):
    [model] = echo.get("/v1/models").json()["data"]
    assert "precision" not in model["capabilities"]


def served(tmp_path, options):
    config = tmp_path / "specserve.toml"
    config.write_text(f'[[models]]\nid = "{CHAT}"\nload = "request"\noptions = {{ {options} }}\n')
    return running("--config", str(config), "--validate-responses")


def test_one_option_makes_all_parts_fast_and_a_part_can_be_set_apart(tmp_path):
    with served(tmp_path, 'precision = "fast", kv_cache_precision = "f16"') as server, server.client() as client:
        assert answer(client, QUESTIONS[0])
        precision = client.get(f"/v1/models/{CHAT}").json()["capabilities"]["precision"]
        assert precision.pop("compute") in {"f32", "bf16", "f16"}  # what the processor is fastest with
        assert precision == {"exact": False, "kv_cache": "f16", "dynamic_quantization": True}
        [line] = [line for line in server.output if "precision=" in line]
        assert "KV cache f16, activations rounded to 8 bits)" in line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('precision = "quick"', "precision"),
        ('compute_precision = "f64"', "compute_precision"),
        ('kv_cache_precision = "f8"', "kv_cache_precision"),
    ],
)
def test_a_precision_that_does_not_exist_stops_the_start_with_one_line(tmp_path, options, reason):
    with pytest.raises(AssertionError, match="the server ended") as failed, served(tmp_path, options):
        pass
    last = str(failed.value).splitlines()
    assert any(reason in line for line in last)
    assert not any("Traceback" in line for line in last)
