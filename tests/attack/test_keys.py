"""API keys, their limits and their file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anytime_server.server.run import main

from ..prefork import preforked
from ..servers import RealServer, start, started
from .matrix import attack
from .streams import GREEDY

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 7 - 3? " * 4}]}
SECRETS = {name: f"any-{name}-{'s3cret' * 6}" for name in ("alice", "bob", "carol", "dave", "prometheus")}


def entry(name: str, **fields: object) -> str:
    digest = hashlib.sha256(SECRETS.get(name, name).encode()).hexdigest()
    lines = [f"{field} = {value!r}" for field, value in ({"name": name, "sha256": digest} | fields).items()]
    return "\n".join(["[[keys]]", *lines, ""])


KEYS = "".join(
    [
        entry("alice"),
        entry("bob"),
        entry("carol", tokens_per_minute=100),
        entry("dave", requests_per_day=4),
        entry("prometheus", role="metrics"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A running server with API keys."""

    server: RealServer
    http: httpx2.AsyncClient
    keys: Path

    async def get(self, path: str, secret: str | None = None) -> httpx2.Response:
        headers = {} if secret is None else {"x-api-key": secret}
        return await self.http.get(self.server.url + path, headers=headers)

    async def ask(self, name: str, path: str = "/v1/anytime", **fields: Any) -> httpx2.Response:
        body = QUESTION | {"stream": False} | fields
        headers = {"x-api-key": SECRETS[name]}
        return await self.http.post(self.server.url + path, json=body, headers=headers)

    async def metrics(self) -> str:
        return (await self.get("/metrics", SECRETS["prometheus"])).text


@pytest.fixture(scope="module")
def real(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Any, None, None]:
    """One server for all tests of this module, with a short queue."""
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.write_text(KEYS)
    options = ["--keys", str(keys), "--engine", "transformers", "--model", str(tiny_checkpoint)]
    server = start([*options, "--transformers.max-num-seqs", "2", "--max-waiting", "8"])
    began_at = time.monotonic()
    yield server, keys
    server.process.terminate()
    output, _ = server.process.communicate(timeout=30)
    assert "Traceback" not in output
    assert not any(secret in output for secret in SECRETS.values())
    assert output.count("API key refused") <= 60 + time.monotonic() - began_at
    assert "guess" not in output


@pytest.fixture
async def guarded(real: tuple[RealServer, Path]) -> AsyncGenerator[Guarded, None]:
    server, keys = real
    async with server.client() as http:
        yield Guarded(server=server, http=http, keys=keys)


@attack(
    done="1,000 wrong keys over kept connections, then a valid key from the same address",
    client="401 for 60 a minute, then 429 with Retry-After; the valid key is served",
    left="at most 60 lines a minute in the audit log, without secrets",
)
async def test_wrong_keys_are_throttled_and_valid_keys_never(guarded: Guarded) -> None:
    began_at = time.monotonic()
    guesses = [guarded.get("/v1/models", f"any-guess-{number}") for number in range(1000)]
    responses: list[httpx2.Response] = []
    for first in range(0, 1000, 50):
        responses += await asyncio.gather(*guesses[first : first + 50])
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {401, 429}
    assert 60 <= statuses.count(401) <= 61 + (time.monotonic() - began_at)
    throttled = next(response for response in responses if response.status_code == 429)
    assert throttled.headers["retry-after"] == "1"
    assert (await guarded.get("/v1/models", SECRETS["alice"])).status_code == 200


@attack(
    done="a key sends the prompt of another key, and compares `cached_tokens`",
    client="with a budget of 0, no cached tokens, as for a prompt that nobody has sent; the other key's own "
    "repetition is cached",
    left="a cached prefix of the prompt for each key",
)
async def test_cached_tokens_do_not_show_other_keys_prompts(guarded: Guarded) -> None:
    async def cached(name: str) -> int:
        fields = {"model": "tiny", "thinking_token_budget": 4}
        response = await guarded.ask(name, "/v1/chat/completions", **fields)
        assert response.status_code == 200, response.text
        return response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert await cached("alice") == 0
    assert await cached("alice") > 50
    assert await cached("bob") == 0
    assert await cached("bob") > 50


@attack(
    done="a key of 100 tokens a minute asks for 40 early answers, then often for one",
    client="422, naming `budget` and the maximum; then answers until 429",
    left="no more tokens sampled than 100 and the refill",
)
async def test_early_answers_and_answers_are_not_free(guarded: Guarded) -> None:
    began_at = time.monotonic()
    refused = await guarded.ask("carol", budget=60, budgets=list(range(40)), answer={"max_tokens": 4})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "budget")
    assert "the most is 100" in refused.json()["error"]["message"]
    while (await guarded.ask("carol", budget=2, budgets=[1], answer={"max_tokens": 4})).status_code == 200:
        pass
    sampled = sum(
        float(line.rpartition(" ")[2])
        for line in (await guarded.metrics()).splitlines()
        if line.startswith('anytime_tokens_total{key="carol"')
        and any(f'kind="{kind}"' in line for kind in ("thinking", "answer", "provisional"))
    )
    assert 50 < sampled <= 100 * (1 + (time.monotonic() - began_at) / 60)


@attack(
    done="30 requests of one key at once, to two slots and a queue of 8",
    client="429 for that key beyond half of the queue; another key is served",
    left="an empty queue",
)
async def test_one_key_cannot_fill_the_queue(guarded: Guarded) -> None:
    many = [asyncio.create_task(guarded.ask("alice", **GREEDY, budget=300)) for _ in range(30)]
    first = await next(asyncio.as_completed(many))
    assert first.status_code == 429, "the slots and half of the queue are taken"
    assert (await guarded.ask("bob", budget=4)).status_code == 200
    statuses = [response.status_code for response in await asyncio.gather(*many)]
    assert set(statuses) == {200, 429}
    assert 6 <= statuses.count(200) < 30
    assert "anytime_sessions_waiting 0.0" in await guarded.metrics()


@attack(
    done="a completion with more choices than the key has requests left",
    client="429",
    left="no request counted, no session",
)
async def test_a_refused_completion_counts_none_of_its_choices(guarded: Guarded) -> None:
    fields: dict[str, Any] = {"model": "tiny", "thinking_token_budget": 2}
    counted = await guarded.ask("dave", "/v1/chat/completions", n=2, **fields)
    assert (counted.status_code, counted.headers["x-ratelimit-remaining-requests"]) == (200, "2")
    refused = await guarded.ask("dave", "/v1/chat/completions", n=3, **fields)
    assert (refused.status_code, refused.headers["x-ratelimit-remaining-requests"]) == (429, "2")
    assert "anytime_sessions_running 0.0" in await guarded.metrics()


@attack(
    done="/metrics, /version and endpoints without a key, also as //metrics, /V1/…, %76%31 and with dots",
    client="401 for each; 403 for /metrics with a user's key",
    left="nothing",
)
async def test_paths_that_are_not_open_need_a_key(guarded: Guarded) -> None:
    paths = ("/metrics", "//metrics", "/metrics/", "/version", "/v1/models", "//v1/models", "/V1/models")
    tricks = (
        "/%76%31/models",
        "/playground/..%2f..%2fmetrics",
        "/health/../metrics",
        "/ready%2f..%2fmetrics",
    )
    for path in (*paths, *tricks):
        assert await _raw_status(guarded.server, path) == 401, path
    assert (await guarded.get("/metrics", SECRETS["alice"])).status_code == 403
    for path in ("/health", "/ready"):
        assert (await guarded.get(path)).status_code == 200


async def _raw_status(server: RealServer, path: str) -> int:
    """The status of a path that no client has normalised."""
    host, port = server.address
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    status = int((await reader.read()).split()[1])
    writer.close()
    return status


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a large file": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
    "digits": lambda path: path.write_text(KEYS + "requests_per_day = " + "9" * 5000),
    "brackets": lambda path: path.write_text(KEYS + "name = " + "[" * 20_000),
    "dots": lambda path: path.write_text("a." * 20_000 + "a = 1"),
    "bytes": lambda path: path.write_bytes(b"\xff\x00" * 1000),
}


@attack(
    done="the key file becomes a pipe without a writer, then 20,000 nested brackets, then valid again",
    client="nothing: the old keys stay valid, then the new ones",
    left="a line in the log for each fault; a removed key that comes back has its usage",
)
async def test_a_bad_key_file_changes_nothing(
    start_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(KEYS)
    server = start_server("--engine", "scripted", "--keys", str(keys))
    async with server.client() as http, asyncio.timeout(60):
        guarded = Guarded(server=server, http=http, keys=keys)
        await guarded.ask("dave", budget=0)
        before = (await guarded.get("/v1/models", SECRETS["dave"])).headers["x-ratelimit-remaining-requests"]
        assert before == "3"
        for kind in ("a pipe", "brackets"):
            keys.unlink()
            BAD_FILES[kind](keys)
            await asyncio.sleep(1.2)
            assert (await guarded.get("/v1/models", SECRETS["alice"])).status_code == 200
        for text, status in ((entry("alice"), 401), (KEYS, 200)):
            keys.write_text(text)
            while (response := await guarded.get("/v1/models", SECRETS["dave"])).status_code != status:
                await asyncio.sleep(0.1)
        assert response.headers["x-ratelimit-remaining-requests"] == before
    server.process.terminate()
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    assert "Traceback" not in output
    assert not any(secret in output for secret in SECRETS.values())
    assert "API key removed key=dave" in output
    assert "API key added key=dave" in output
    assert output.count("--keys: ") == 2, "one line for each bad file"


@attack(
    done="a start with a file of keys or options that is a pipe, a folder, a device, a terabyte, "
    "5,000 digits, 20,000 brackets, a key of 20,000 parts or no text",
    client="nothing: the server does not start",
    left="status 2 and one line",
)
@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("option", ["--keys", "--config"])
def test_a_bad_file_ends_the_start_with_one_line(
    kind: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.toml"
    BAD_FILES[kind](path)
    assert main([option, str(path), "--engine", "scripted"]) == 2
    output = capsys.readouterr().err
    assert output.startswith(f"anytime serve: {option}: {path}: ")
    assert output.count("\n") == 1


@attack(
    done="20,000 keys are added to the file of a running server",
    client="/health within a second throughout",
    left="20,000 valid keys",
)
@pytest.mark.nightly
async def test_twenty_thousand_keys_do_not_block_the_server(guarded: Guarded) -> None:
    guarded.keys.write_text(KEYS + "".join(entry(f"user{number}") for number in range(20_000)))
    longest_s = 0.0
    while (await guarded.get("/v1/models", "user19999")).status_code != 200:
        began_at = time.monotonic()
        assert (await guarded.get("/health")).status_code == 200
        longest_s = max(longest_s, time.monotonic() - began_at)
    assert longest_s < 1
    guarded.keys.write_text(KEYS)


@attack(
    done="SIGHUP, which reads the key file again, while the server starts",
    client="nothing",
    left="a server that starts",
)
def test_sighup_does_not_end_a_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(KEYS)
    process = preforked().start(["--port", "0", "--engine", "scripted", "--keys", str(keys)])
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Loading")
    process.send_signal(signal.SIGHUP)
    assert started(process).stop() == 0
