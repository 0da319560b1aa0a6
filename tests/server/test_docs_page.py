"""The interactive documentation, as a person uses it: a real browser, no network but this machine."""

import http.client
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from openapi_spec_validator import validate

playwright = pytest.importorskip("playwright.sync_api")


@contextmanager
def stripping_proxy(upstream, prefix):
    """A proxy that serves `upstream` under a prefix and tells it nothing of that."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if not self.path.startswith(prefix + "/"):
                self.send_error(404)
                return
            address = urlsplit(upstream)
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path.removeprefix(prefix), body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - http.server looks for this name

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("SPECSERVE_TEST_BROWSER") or "/usr/bin/chromium"
    if not Path(path).exists():
        if "SPECSERVE_TEST_BROWSER" in os.environ:
            pytest.fail(f"there is no browser at {path}")
        pytest.skip("there is no Chromium here; CI has one")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("prefix", ["", "/some/llm"])
def test_try_it_out_works_offline_and_behind_a_prefix(browser, echo_server, prefix):
    with stripping_proxy(echo_server.url, prefix) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        page.set_default_timeout(120_000)
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/docs", wait_until="networkidle")
        page.locator("#operations-Chat-createChatCompletion .opblock-summary").click()
        operation = page.locator("#operations-Chat-createChatCompletion")
        body = operation.locator("textarea.body-param__text")
        body.wait_for()
        body.fill('{"model": "echo", "messages": [{"role": "user", "content": "Hello from a browser"}]}')
        with page.expect_response(lambda response: "chat/completions" in response.url) as answered:
            operation.locator("button.execute").click()
        assert answered.value.status == 200
        assert answered.value.url == f"{address}/v1/chat/completions"
        live = operation.locator(".live-responses-table")
        live.wait_for()
        assert "Hello from a browser" in live.inner_text()
        if folder := os.environ.get("SPECSERVE_TEST_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/docs{prefix.replace('/', '-')}.png")
        page.close()
    assert not errors
    assert all(url.startswith((address, "data:", "blob:")) for url in requests), "something was asked of the internet"


def test_the_spec_is_served_as_json_and_yaml(echo_server):
    as_json = httpx.get(f"{echo_server.url}/openapi.json", timeout=60, trust_env=False)
    as_yaml = httpx.get(f"{echo_server.url}/openapi.yaml", timeout=60, trust_env=False)
    assert as_json.headers["content-type"] == "application/json"
    assert yaml.safe_load(as_yaml.text) == as_json.json()
    validate(as_json.json())
    assert as_json.json()["servers"] == [{"url": "v1"}]


def test_root_leads_to_the_documentation(echo_server):
    answer = httpx.get(echo_server.url, follow_redirects=True, timeout=60, trust_env=False)
    assert answer.url.path == "/docs/"
    assert "swagger-ui" in answer.text
