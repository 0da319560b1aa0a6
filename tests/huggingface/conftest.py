"""Tests of the backend on transformers run where its libraries are: `tox run -e huggingface` has them."""

import asyncio
import importlib.util

import pytest

HERE = all(importlib.util.find_spec(library) for library in ("torch", "transformers"))
collect_ignore_glob = [] if HERE else ["test_*.py"]

if HERE:
    import tiny_models
    from servers import running

    @pytest.fixture(scope="session")
    def models(tmp_path_factory):
        """A folder with tiny models of random weights: `llama`, `opt`, `bert-mean`, `bert-cls`, ..."""
        return tiny_models.make(tmp_path_factory.mktemp("models"))

    @pytest.fixture(scope="session")
    def server(models):
        """All of them behind one server, each answer checked against the spec before it leaves."""
        config = models / "specserve.toml"
        config.write_text(
            "".join(
                f'[[models]]\nid = "{name}"\nbackend = "huggingface"\nsource = "{models / folder}"\n{more}'
                f"options = {{ num_threads = 1{options} }}\n"
                for name, folder, more, options in (
                    ("tiny-llama", "llama", "", ""),
                    ("single-llama", "llama", "", ", paged = false"),
                    ("tiny-opt", "opt", "", ""),
                    ("chatty-opt", "opt", 'chat_template = "chatml"\n', ""),
                    ("tiny-bert", "bert-mean", "", ""),
                )
            )
        )
        with running("--config", str(config), "--validate-responses") as server:
            yield server

    @pytest.fixture(scope="session")
    def client(server):
        with server.client() as client:
            yield client


@pytest.fixture(scope="module")
def run():
    with asyncio.Runner() as runner:
        yield runner.run
