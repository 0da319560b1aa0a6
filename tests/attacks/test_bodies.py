"""Bodies of legal size that cost more than they should: refused at the first fault, in little memory, beside others."""

import json
import socket
import threading
from pathlib import Path

import httpx
import pytest
from servers import running

HIGH_WATER = "VmHWM:"
MB = 1_000_000
USER = b'{"role":"user","content":"a"}'
PART = b'{"type":"text","text":"a"}'


def several(item, count):
    return b",".join([item] * count)


def chat(messages, more=b""):
    return b'{"model":"echo","max_tokens":1,"messages":[' + messages + b"]" + more + b"}"


def tool(parameters):
    return b',"tools":[{"type":"function","function":{"name":"f","parameters":' + parameters + b"}}]"


def schema(inner):
    return b',"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":' + inner + b"}}"


def keys(count):
    return b",".join(b'"key%d":1' % number for number in range(count))


# path, body, status
HOSTILE = {
    "messages without anything": ("chat/completions", chat(several(b"{}", 20_000)), 400),
    "a million messages without anything": ("chat/completions", chat(several(b"{}", 1_000_000)), 413),
    "parts without anything": (
        "chat/completions",
        chat(b'{"role":"user","content":[' + several(b"{}", 113_000) + b"]}"),
        400,
    ),
    "the last of many parts": (
        "chat/completions",
        chat(b'{"role":"user","content":[' + several(PART, 50_000) + b",{}]}"),
        400,
    ),
    "tools without anything": ("chat/completions", chat(USER, b',"tools":[' + several(b"{}", 100_000) + b"]"), 400),
    "calls without anything": (
        "chat/completions",
        chat(b'{"role":"assistant","tool_calls":[' + several(b"{}", 100_000) + b"]}"),
        400,
    ),
    "prompts that are objects": ("completions", b'{"model":"echo","prompt":[' + several(b"{}", 2000) + b"]}", 400),
    "prompts of objects": ("completions", b'{"model":"echo","prompt":[' + several(b"[{}]", 2000) + b"]}", 400),
    "too many prompts": ("completions", b'{"model":"echo","prompt":[' + several(b'"a"', 100_000) + b"]}", 400),
    "too many lists of tokens": ("completions", b'{"model":"echo","prompt":[' + several(b"[1]", 100_000) + b"]}", 400),
    "inputs that are objects": ("embeddings", b'{"model":"echo","input":[' + several(b"{}", 2000) + b"]}", 400),
    "unknown parameters": ("chat/completions", chat(USER, b"," + keys(100_000)), 400),
    "one value too many": (
        "chat/completions",
        chat(USER, tool(b'{"default":[' + several(b"[]", 150_000) + b"]}")),
        413,
    ),
    "lists where a string is meant": (
        "chat/completions",
        chat(USER, b',"metadata":{"a":[' + several(b"[]", 140_000) + b"]}"),
        400,
    ),
    "a body that ends too early": ("chat/completions", chat(several(USER, 90_000))[:-100], 400),
}


@pytest.fixture(scope="module")
def server():
    with running("--model", "echo") as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


def ask(client, path, body, **headers):
    return client.post(f"/v1/{path}", content=body, headers={"content-type": "application/json", **headers})


def memory(server):
    """The most memory that the server has held, in bytes; None where the system does not tell."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(HIGH_WATER))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_body_with_very_many_faults_is_refused_with_little_memory(server, client, name):
    path, body, status = HOSTILE[name]
    before = memory(server)
    answer = ask(client, path, body)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert len(answer.content) < 1000
    after = memory(server)
    if before is not None:
        assert after - before < 16 * len(body) + 30 * MB


@pytest.mark.parametrize(
    "body",
    [
        chat(several(USER, 50_000)),
        chat(b'{"role":"user","content":[' + several(PART, 60_000) + b"]}"),
        chat(several(b'{"role":"user","content":"a","id":7,"name":null}', 30_000)),
        chat(b'{"role":"assistant","content":"a","annotations":[{"x":[' + several(b"[]", 140_000) + b"]}]}"),
        chat(USER, tool(b'{"default":[' + several(b"[]", 140_000) + b"]}")),
        chat(USER, b',"prediction":{"type":"content","content":[' + several(PART, 60_000) + b"]}"),
    ],
    ids=["messages", "parts", "unknown keys", "lists in a hint", "lists in a tool", "a prediction"],
)
def test_a_large_valid_body_is_read_with_bounded_memory(server, client, body):
    before = memory(server)
    answer = ask(client, "chat/completions", body)
    # Most are longer than the context; none is invalid.
    assert answer.status_code == 200 or answer.json()["error"]["code"] == "context_length_exceeded", answer.text
    after = memory(server)
    if before is not None:
        assert after - before < 40 * len(body) + 30 * MB


def test_others_are_answered_while_a_large_body_is_read(server):
    """Not for how long they wait, which depends on the machine: that they do not wait for its end."""
    body = chat(b'{"role":"user","content":[' + several(PART, 99_000) + b",{}]}")
    answers, begun, done = [], threading.Event(), threading.Event()

    def read_large():
        with server.client() as client:
            begun.set()
            answers.append(ask(client, "chat/completions", body))
        done.set()

    with server.client() as other:
        for _ in range(10):  # attempts to be asked at the right moment
            reader = threading.Thread(target=read_large)
            begun.clear(), done.clear()
            reader.start()
            begun.wait()
            beside = 0
            while not done.is_set():
                assert other.get("/health").status_code == 200
                beside += not done.is_set()
            reader.join()
            if beside >= 5:
                break
        assert beside >= 5
    assert {answer.status_code for answer in answers} == {400}


@pytest.mark.parametrize("levels", [100, 200, 255, 300, 1000, 1020, 5000])
@pytest.mark.parametrize(
    "place",
    [
        lambda deep: chat(USER, b',"metadata":{"a":' + deep + b"}"),
        lambda deep: chat(USER, tool(b'{"type":"object","default":' + deep + b"}")),
        lambda deep: chat(USER, schema(b'{"enum":[' + deep + b"]}")),
        lambda deep: chat(USER, schema(b'{"const":' + deep + b"}")),
        lambda deep: chat(b'{"role":"user","content":"a","x":' + deep + b"}"),
        lambda deep: chat(b'{"role":"assistant","content":"a","annotations":[{"x":' + deep + b"}]}"),
        lambda deep: chat(USER, b',"tool_choice":' + deep),
    ],
    ids=["metadata", "default", "enum", "const", "an unknown key", "a hint", "a wrong type"],
)
def test_a_deep_body_is_the_clients_fault_wherever_it_is_deep(client, place, levels):
    for deep in (b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels):
        answer = ask(client, "chat/completions", place(deep))
        if levels > 120:
            assert answer.status_code == 400, answer.text
            assert "nested more than 128 levels deep" in answer.json()["error"]["message"]
        else:
            assert answer.status_code in {200, 400}, answer.text


def connected(server):
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def test_bodies_that_trickle_in_take_a_bounded_number_of_bytes_and_leave_room_for_small_ones():
    limit = 200_000
    with running("--model", "echo", "--max-body-bytes", str(limit), "--max-bodies-in-flight-bytes", "1") as server:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {limit}\r\n\r\n"
        )
        large = {"model": "echo", "prompt": "a " * 80_000}
        small = {"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
        with server.client() as client:
            held = [connected(server), connected(server)]  # at least twice the largest body is allowed
            for connection in held:
                connection.sendall(head.encode() + b" " * (limit - 1))
            while (refused := client.post("/v1/chat/completions", json=large)).status_code != 429:
                pass  # until both have been read
            assert refused.json()["error"]["code"] == "server_overloaded"
            assert int(refused.headers["retry-after"]) >= 1
            assert client.post("/v1/chat/completions", json=small).status_code == 200
            for connection in held:
                connection.close()
            while (answer := client.post("/v1/chat/completions", json=large)).status_code == 429:
                pass  # until both are known to be gone
            assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_many_unknown_keys_are_dropped_and_counted(client):
    body = chat(several(b'{"role":"user","content":"a","id":7}', 500))
    answer = ask(client, "chat/completions", body.replace(b'"max_tokens":1,', b""))
    named = answer.headers["x-specserve-ignored-parameters"]
    assert answer.status_code == 200, answer.text
    assert len(named) < 1100
    assert named.startswith("messages[0].id, messages[1].id, ")
    assert f"and {500 - named.count('].id')} more" in named


def test_very_many_unknown_parameters_are_counted_where_they_are_dropped():
    with running("--model", "echo", "--unknown-parameters", "ignore") as server, server.client() as client:
        answer = ask(client, "chat/completions", chat(USER, b"," + keys(5000)))
        assert answer.status_code == 200
        assert len(answer.headers["x-specserve-ignored-parameters"]) < 1100
        assert max(len(line) for line in server.output) < 2000
        for count in (200, 201, 500):
            message = {"role": "user", "content": "a", "id": 1}
            answer = client.post("/v1/chat/completions", json={"model": "echo", "messages": [message] * count})
            assert answer.status_code == 200, answer.text


def test_a_client_that_leaves_in_the_middle_of_a_large_body_gives_its_room_back():
    limit = 100_000
    with running("--model", "echo", "--max-body-bytes", str(limit), "--max-bodies-in-flight-bytes", "1") as server:
        head = (
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {limit}\r\n\r\n"
        )
        for _ in range(50):
            with connected(server) as connection:
                connection.sendall(head.encode() + b" " * (limit - 1))
        body = json.dumps({"model": "echo", "prompt": "a " * 45_000})
        with server.client() as client:
            while (answer := ask(client, "completions", body)).status_code == 429:
                pass
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_the_server_is_as_before(server, client):
    assert httpx.get(f"{server.url}/health", trust_env=False).json()["status"] == "ok"
    assert ask(client, "chat/completions", chat(USER)).status_code == 200
    assert not any("Traceback" in line for line in server.output)
