"""Clients of npm: the official one with its helpers for zod, and Vercel's AI SDK."""

import pytest
from clients.installed import failures, node_modules, results


@pytest.mark.parametrize("script", ["zod_chat.mjs", "ai_sdk.mjs"])
def test_a_client_of_npm_works_unchanged(script, default_server):
    folder = node_modules()
    assert failures(results(default_server, "node", script, cwd=folder)) == {}
