"""What becomes of the schemas of the JSON Schema test suite: refused, or answered, and does the answer match?

The suite is that of the package `jsonschema`, draft 2020-12. Each schema is asked for several times over
`/v1/chat/completions`; an answer counts as whole if it stopped, and is then checked against the schema. The
bundled model has never seen JSON, so that its answers go everywhere that a schema lets them.

    python bench/schema_suite.py [--answers N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from anytime_server.engine.structured.violations import violation
from records import parser_of, write_record
from servers import MODEL_NAME, Server, anytime_server

VERSION, DRAFT = "4.26.0", "draft2020-12"
USERS = 8


def schemas(folder: Path) -> Iterator[tuple[str, Any]]:
    """Name and schema of each group of tests, without the optional ones."""
    source = f"jsonschema=={VERSION}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary=jsonschema",
        source,
    ]
    subprocess.run(command, cwd=folder, check=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    for path in sorted(folder.glob(f"*/json/tests/{DRAFT}/*.json")):
        for group in json.loads(path.read_text()):
            yield f"{path.stem}: {group['description']}", group["schema"]


async def _ask(http: httpx2.AsyncClient, schema: Any, seed: int) -> tuple[str, str]:
    """The outcome of a request, and its text or its error."""
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body = {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": "Give an example."}],
        "response_format": form,
        "thinking_budget": 4,
        "max_tokens": 60,
        "temperature": 1,
        "seed": seed,
    }
    reply = await http.post("/v1/chat/completions", json=body)
    if reply.status_code != 200:
        return "refused" if reply.status_code == 400 else "failed", reply.json()["error"]["message"]
    [choice] = reply.json()["choices"]
    text = choice["message"]["content"]
    if choice["finish_reason"] != "stop":
        return "not whole", text
    try:
        violated = violation(json.dumps(schema), text)
    except Exception as error:  # a reference to a schema that is elsewhere
        return "not checkable", str(error)
    return ("valid", text) if violated is None else ("invalid", f"{text} violates {violated}")


async def measure(server: Server, suite: list[tuple[str, Any]], *, answers: int) -> dict[str, Any]:
    limit = asyncio.Semaphore(USERS)

    async def outcome(schema: Any) -> list[tuple[str, str]]:
        async with limit:
            return [await _ask(http, schema, seed) for seed in range(answers)]

    async with httpx2.AsyncClient(base_url=server.url, timeout=120) as http:
        outcomes = await asyncio.gather(*(outcome(schema) for _, schema in suite))
    refused = [
        {"schema": name, "why": found[0][1]}
        for (name, _), found in zip(suite, outcomes, strict=True)
        if found[0][0] == "refused"
    ]
    wrong = [
        {"schema": name, "answer": text}
        for (name, _), found in zip(suite, outcomes, strict=True)
        for kind, text in found
        if kind in ("invalid", "failed")
    ]
    return {
        "suite": f"{DRAFT} of jsonschema {VERSION}",
        "schemas": len(suite),
        "refused": len(refused),
        "answers": Counter(kind for found in outcomes for kind, _ in found if kind != "refused"),
        "refused_schemas": refused,
        "wrong_answers": wrong,
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--answers", type=int, default=2, help="answers per schema (default: %(default)s)")
    arguments: argparse.Namespace = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = list(schemas(Path(folder)))
    with anytime_server() as server:
        measured = asyncio.run(measure(server, suite, answers=arguments.answers))
    print(json.dumps(measured, indent=1))
    write_record("schema_suite", measured, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
