"""The kit under pytest: ``pytest --pyargs specserve.conformance --base-url http://127.0.0.1:8000/v1``.

Installed as a plugin so that its options are known. It does nothing unless they are used, and imports nothing before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from specserve.conformance.judge import Outcome

_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--base-url", {"help": "The server to judge, with its version part."}),
    ("--conform-target", {"help": "A TOML target file."}),
    ("--conform-model", {"help": "The chat and completion model."}),
    ("--conform-embedding-model", {"help": "The embedding model."}),
    ("--conform-profile", {"action": "append", "default": [], "help": "What the server claims to speak beside core."}),
    ("--conform-report", {"help": "Write all reports into this folder."}),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; another plugin may have brought ``--base-url``, which then serves both."""
    group = parser.getgroup("conformance", "specserve conformance kit")
    for name, settings in _OPTIONS:
        try:
            group.addoption(name, **settings)
        except ValueError:
            if name != "--base-url":
                raise


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a requirement."""
    if "conformance_requirement" in metafunc.fixturenames:
        from specserve.conformance.requirements import load

        metafunc.parametrize("conformance_requirement", list(load()))


@pytest.fixture(scope="session")
def conformance_outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """Send everything once; the tests only look."""
    from pathlib import Path

    from specserve.conformance import report as reports
    from specserve.conformance import target as targets
    from specserve.conformance.report import document as documents
    from specserve.conformance.runner import Runner

    said = {
        "base_url": request.config.getoption("--base-url", default=None),
        "model": request.config.getoption("--conform-model"),
        "embedding_model": request.config.getoption("--conform-embedding-model"),
        "profiles": request.config.getoption("--conform-profile"),
    }
    file = request.config.getoption("--conform-target")
    settings = targets.read(Path(file)) if file else {}
    settings |= {key: value for key, value in said.items() if value}
    if not settings.get("base_url"):
        pytest.skip("no server named: --base-url http://127.0.0.1:8000/v1")
    run = Runner(targets.make(settings)).run()
    folder = request.config.getoption("--conform-report")
    if folder:
        reports.write(documents.make(run), Path(folder))
    return {outcome.requirement.id: outcome for outcome in run.outcomes}
