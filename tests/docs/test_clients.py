"""Each client in the table of docs/migrate.md has a test, and the table has what is ignored of it."""

from __future__ import annotations

import re

import pytest

from tests.server.api.client_bodies.test_bodies import BODIES

from .running import ROOT

RUN_BY = {
    "OpenAI SDK (Python)": ("tests/e2e/test_dialects.py", "openai.OpenAI("),
    "Anthropic SDK (Python)": ("tests/e2e/test_dialects.py", "anthropic.Anthropic("),
    "Codex": ("tests/e2e/test_agents.py", "await codex("),
    "Claude Code": ("tests/e2e/test_agents.py", '"claude",'),
}
"""Tests of clients that have no body among the others, and how they call them."""


def rows() -> list[list[str]]:
    text = (ROOT / "docs/migrate.md").read_text()
    section = text.partition("\n## Clients\n")[2].partition("\n## ")[0]
    table = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return table[2:]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_client_of_the_table_has_a_test(row: list[str]) -> None:
    client, version, _, ignored = row
    if client in RUN_BY:
        path, call = RUN_BY[client]
        assert call in (ROOT / path).read_text()
        return
    bodies = [sent for sent in BODIES if sent.client.startswith(client)]
    assert any(re.search(rf"\b{re.escape(version)}\b", sent.client) for sent in bodies), client
    for sent in bodies:
        for field in sent.ignored:
            assert f"`{field}`" in ignored, (client, field)


def test_every_body_is_of_a_client_in_the_table() -> None:
    clients = [client for client, *_ in rows()]
    for sent in BODIES:
        assert sent.client.startswith(tuple(clients)), sent.client
