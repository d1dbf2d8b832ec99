"""The test runner itself: it finds blocks, shortens commands, and rejects wrong outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from .commands import Command, commands_of, shortened
from .outputs import matches
from .snippets import snippets_of

URL = "http://127.0.0.1:1234"


def test_blocks_have_location_marker_and_output(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "# A page\n\n```python\nprint(1)\n```\n\n<!-- output -->\n```text\n1\n```\n\n"
        '=== "Node"\n\n    ```ts title="x"\n    await 1;\n    ```\n\n'
        "<!-- not run: it is only a sketch -->\n```\nrm x\n```\n"
        "<!-- post: /v1/messages -->\n```json\n{}\n```\n"
    )
    python, ts, sketch, posted = snippets_of("page.md", tmp_path)
    assert (python.location, python.language, python.text, python.output) == (
        "page.md:3",
        "python",
        "print(1)\n",
        "1\n",
    )
    assert (ts.line, ts.language, ts.text) == (14, "ts", "await 1;\n")
    assert (sketch.marker, sketch.value) == ("not run", "it is only a sketch")
    assert (posted.marker, posted.value) == ("post", "/v1/messages")


def test_a_marker_applies_only_to_the_next_block(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- not run: no -->\n```\na\n```\n```\nb\n```\n")
    assert [snippet.marker for snippet in snippets_of("page.md", tmp_path)] == ["not run", None]


def test_a_block_without_an_end_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```\nls\n")
    with pytest.raises(AssertionError, match=r"page\.md:1: the block has no end"):
        snippets_of("page.md", tmp_path)


def test_a_prompt_starts_a_command_and_its_output() -> None:
    text = "$ curl -d '{\n  \"a\": 1}' \\\n  x\nevent: a\n\nevent: b\n$ ls\n"
    assert commands_of(text) == [
        Command(text="curl -d '{\n  \"a\": 1}' \\\n  x", output="event: a\n\nevent: b"),
        Command(text="ls", output=None),
    ]


def test_without_prompts_each_line_is_a_command() -> None:
    assert [c.text for c in commands_of("# first\nls a \\\n  b\n\necho c  # so\n")] == [
        "ls a \\\n  b",
        "echo c  # so",
    ]


@pytest.mark.parametrize(
    ("command", "run"),
    [
        ("make serve   # the demo", "make -n serve"),
        ("anytime serve --help", "anytime serve --help"),
        ("curl http://127.0.0.1:8000/health", f"curl {URL}/health"),
        (".venv/bin/anytime ask 'x # y'", f".venv/bin/anytime ask 'x # y' --url {URL}"),
        (
            "anytime evaluate x --problems 2000 --json",
            "anytime evaluate x --json --problems 4 --engine transformers",
        ),
        (
            "anytime serve --port 1 --shed budget",
            "serve briefly: --port 1 --shed budget",
        ),
        (
            ".venv/bin/python bench/load.py --requests 9",
            "python tests/docs/parse_only.py bench/load.py --requests 9",
        ),
        ("python research/gate.py x.toml", "python tests/docs/parse_only.py research/gate.py x.toml"),
    ],
)
def test_long_commands_are_shortened(command: str, run: str) -> None:
    assert shortened(command, URL) == run


@pytest.mark.parametrize(
    "command", ["sudo reboot", "makeanything", "anytime fly", "python elsewhere.py", "pip install torch"]
)
def test_an_unknown_command_is_an_error(command: str) -> None:
    with pytest.raises(AssertionError, match="no rule says how to run"):
        shortened(command, URL)


EVENTS = 'event: a\ndata: {"id":1,"y":{"z":2}}\n\nevent: b\ndata: {"x":1}\n\nevent: c\ndata: {"x":[1]}\n'


@pytest.mark.parametrize(
    "shown",
    [
        'event: a\ndata: {"id":9,"y":{"z":2}}\n\nevent: b\ndata: {"x":1}\n\nevent: c\ndata: {"x":[1]}',
        'event: a\ndata: {"id":9,"y":{...}}\n\n... some more ...\n\nevent: c\ndata: {"x":[1]}',
        '... and\n\nevent: c\ndata: {"x":[1]}',
    ],
)
def test_events_match_apart_from_volatile_values(shown: str) -> None:
    assert matches(shown, f": keep-alive\n\n{EVENTS}")


@pytest.mark.parametrize(
    "shown",
    [
        'event: a\ndata: {"id":1,"y":{"z":2}}\n\nevent: c\ndata: {"x":[1]}',
        'event: a\ndata: {"id":1,"y":{"z":8}}\n\n...\n\nevent: c\ndata: {"x":[1]}',
        'event: a\ndata: {"id":1,"y":{"other":2}}\n\n...\n\nevent: c\ndata: {"x":[1]}',
        'event: a\ndata: {"id":1,"y":{"z":2},"more":1}\n\n...\n\nevent: c\ndata: {"x":[1]}',
        'event: a\ndata: {"id":1,"y":{"z":2}}\n\n...\n\nevent: c\ndata: {"x":[2]}',
        'event: a\ndata: {"id":1,"y":{"z":2}}\n\n...\n\nevent: d\ndata: {"x":[1]}',
    ],
)
def test_different_events_do_not_match(shown: str) -> None:
    assert not matches(shown, EVENTS)


def test_consecutive_pieces_count_as_one() -> None:
    piece = 'event: thinking\ndata: {"text":"a"}\n\n'
    shown = f"{piece}{piece}... more ...\n\n{piece}{EVENTS}"
    assert matches(shown, piece + EVENTS)
    assert matches(shown, piece * 9 + EVENTS)
    assert not matches(shown, EVENTS)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("5", "5\n", True),
        ("5", "6\n", False),
        ("begin\n...\nend", "begin\nmuch\nmore\nend\n", True),
        ("a+b", "aab", False),
        ('{"a": 1, "b": {...}}', '{"a": 1, "b": {"c": 3}}', True),
        ('{"status": "ready"}', '{"status": "not ready"}', False),
        ('{"a": [1, 2]}', '{"a": [1, 3]}', False),
        ('{"a": 1}', '{"a": 1, "b": 3}', False),
    ],
)
def test_text_and_json_match(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same
