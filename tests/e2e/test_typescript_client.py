"""The TypeScript client: its own tests against a real server, the published package, and the README."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..servers import RealServer

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/typescript"
BUNDLE = ROOT / "server/anytime_server/playground/anytime-client.js"
DOCUMENTED_URL = "http://127.0.0.1:8000"
EXAMPLE = re.compile(r"```ts\n(.*?)```", re.DOTALL)
TSC = PACKAGE / "node_modules/typescript/bin/tsc"
WITH_REAL_ENGINE = (
    "unstreamed response|several budgets|continuation token|invalid field|lists the models|abort signal"
)
"""Names of the tests that work with a model that may end its thinking itself."""
NODENEXT = ("--module", "nodenext")


def run(*command: str | Path, cwd: Path = PACKAGE, **environment: str) -> str:
    """Run a command and return its output, which a failure shows."""
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=os.environ | {"NO_COLOR": "1", "NO_UPDATE_NOTIFIER": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    assert (PACKAGE / "node_modules").is_dir(), (
        "the TypeScript client's tools are missing: run `make setup-dev`"
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published files, freshly built."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("package.json", "README.md", "LICENSE"):
        shutil.copy(PACKAGE / name, folder)
    run("node", "scripts/build.js", folder / "dist")
    return folder


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Path:
    """A project with the package installed from its tarball."""
    folder = tmp_path_factory.mktemp("consumer")
    run("npm", "pack", "--ignore-scripts", "--pack-destination", folder, cwd=package)
    folder.joinpath("package.json").write_text('{"private": true, "type": "module"}')
    [tarball] = folder.glob("*.tgz")
    run("npm", "install", "--offline", "--no-audit", "--no-fund", tarball, cwd=folder)
    return folder


def compile_examples(consumer: Path, url: str, *options: str) -> list[Path]:
    """Type-check and compile the examples of the documentation."""
    comment = re.sub(
        r"^ \* ?", "", (PACKAGE / "src/client.ts").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    [class_example] = EXAMPLE.findall(comment)
    examples = [
        *EXAMPLE.findall((PACKAGE / "README.md").read_text(encoding="utf-8")),
        'import { Client } from "anytime-client";\n' + class_example,
    ]
    sources = [consumer / f"example-{i}.ts" for i in range(len(examples))]
    for source, example in zip(sources, examples, strict=True):
        assert DOCUMENTED_URL in example
        source.write_text(example.replace(DOCUMENTED_URL, url), encoding="utf-8")
    run(
        "node", TSC, "--strict", "--target", "es2022", "--lib", "es2022,dom", *options, *sources, cwd=consumer
    )
    return [source.with_suffix(".js") for source in sources]


@pytest.mark.nightly
def test_live_server_tests_pass_with_a_slow_engine(start_server: Callable[..., RealServer]) -> None:
    slow = start_server("--engine=scripted", "--scripted.seconds-per-token=0.02", "--scripted.never-end=true")
    output = run("npm", "test", ANYTIME_URL=slow.url)
    assert "skipped" not in output


def test_live_server_tests_pass_with_the_real_engine(real_server: RealServer) -> None:
    output = run(
        "npx",
        "vitest",
        "run",
        "tests/live-server.test.ts",
        "-t",
        WITH_REAL_ENGINE,
        ANYTIME_URL=real_server.url,
    )
    assert re.search(r"Tests +6 passed", output)


def test_package_installs_as_the_readme_describes(package: Path, tmp_path: Path) -> None:
    [block] = re.findall(r"```sh\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    tools, build, install = block.splitlines()
    # Not run here: the first command fetches packages, the second writes to the checkout.
    assert tools == "npm --prefix anytime/clients/typescript ci"
    assert build == "npm --prefix anytime/clients/typescript run build"
    assert "build" in json.loads((PACKAGE / "package.json").read_text())["scripts"]
    checkout = shutil.copytree(package, tmp_path / "anytime/clients/typescript")
    described = json.loads((checkout / "package.json").read_text())
    del described["devDependencies"]  # npm would request them from the registry
    (checkout / "package.json").write_text(json.dumps(described))
    run(*install.split(), "--offline", "--no-audit", "--no-fund", cwd=tmp_path)
    output = run(
        "node", "-e", "import('anytime-client').then(({ Client }) => console.log(Client.name))", cwd=tmp_path
    )
    assert output == "Client\n"


class Refusing(BaseHTTPRequestHandler):
    """Starts a session, refuses `answer_now`, and then ends the session with an error."""

    refused = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/answer"):
            self.send_error(500)
            self.refused.set()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        budget = {"tokens": 9, "deadline_ms": None}
        for event in (
            {"type": "started", "id": "any-1", "model": "m", "budget": budget, "prompt_tokens": 1},
            {"type": "thinking", "text": "so ", "total_tokens": 1},
        ):
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.refused.wait()
        error = {"type": "error", "error": {"code": "unavailable", "message": "the server stops"}}
        self.wfile.write(f"data: {json.dumps(error)}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_example_reports_a_refused_answer_now(consumer: Path, refusing: str) -> None:
    script = shutil.copy(ROOT / "examples/typescript/answer_now.mjs", consumer)
    with subprocess.Popen(
        ["node", script],
        env=os.environ | {"ANYTIME_URL": refusing},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        process.stdout.read(1)  # of the thinking: the session has started
        _, errors = process.communicate("\n", timeout=60)
    assert process.returncode == 1
    assert [line for line in errors.splitlines() if line] == ["HTTP 500", "the server stops"]


def test_package_has_exactly_the_built_files(package: Path) -> None:
    [packed] = json.loads(run("npm", "pack", "--dry-run", "--json", "--ignore-scripts", cwd=package))
    modules = [path.stem for path in PACKAGE.glob("src/*.ts")]
    assert {file["path"] for file in packed["files"]} == {
        *("package.json", "README.md", "LICENSE", "dist/anytime.js"),
        *(f"dist/{module}.{ending}" for module in modules for ending in ("js", "d.ts")),
    }
    manifest = json.loads((package / "package.json").read_text())
    assert "dependencies" not in manifest


def test_package_has_no_external_imports(package: Path) -> None:
    imported = {
        name
        for module in package.glob("dist/*.js")
        for name in re.findall(
            r"""(?:from|import)\s*\(?["']([^"']+)["']""", module.read_text(encoding="utf-8")
        )
    }
    assert imported
    assert all(name.startswith("./") for name in imported), imported
    assert "import" not in re.findall(r"^\w+", (package / "dist/anytime.js").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(NODENEXT, id="nodenext"),
        pytest.param(
            ("--module", "esnext", "--moduleResolution", "bundler"), marks=pytest.mark.nightly, id="bundler"
        ),
    ],
)
def test_documented_examples_run(consumer: Path, demo_server: RealServer, options: tuple[str, ...]) -> None:
    for example in compile_examples(consumer, demo_server.url, *options):
        assert run("node", example, cwd=consumer).strip(), f"{example.name} printed nothing"


def test_types_reject_invalid_requests(consumer: Path) -> None:
    consumer.joinpath("wrong.ts").write_text(
        """
        import { type Cause, Client, type Event } from "anytime-client";
        const client = new Client();
        // @ts-expect-error
        client.think("7-3", { budgett: 8 });
        // @ts-expect-error
        client.think("7-3", { stop_when: { stabel: 2 } });
        // @ts-expect-error
        client.think([{ role: "robot", content: "7-3" }]);
        // @ts-expect-error
        client.think("7-3").text;
        export const causes: Cause[] = ["natural", "of a later server"];
        export function name(event: Event): string {
            switch (event.type) {
                case "started": return event.id;
                case "thinking": return event.text;
                case "answer.started": return String(event.cause);
                case "answer.delta": return event.text;
                case "answer.done": return event.finish_reason;
                case "done": return event.stop.cause;
                case "unknown": return event.raw.type;
            }
        }
        """
    )
    run(
        "node",
        TSC,
        "--strict",
        "--noEmit",
        "--target",
        "es2022",
        "--lib",
        "es2022,dom",
        *NODENEXT,
        "wrong.ts",
        cwd=consumer,
    )


def test_playground_bundle_is_up_to_date(package: Path) -> None:
    fresh = (package / "dist/anytime.js").read_bytes()
    assert fresh == BUNDLE.read_bytes(), "the bundle is stale: npm --prefix clients/typescript run build"
