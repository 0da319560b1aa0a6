"""Clients for Python that cannot be installed together: each has a script, and its packages pinned beside it."""

import pytest
from clients.installed import HERE, failures, python_of, results

SCRIPTS = sorted(path.stem for path in (HERE / "apart").glob("ask_*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_client_with_an_environment_of_its_own_works_unchanged(name, default_server):
    folder = HERE / "apart"
    assert failures(results(default_server, python_of(name), folder / f"{name}.py", cwd=folder)) == {}
