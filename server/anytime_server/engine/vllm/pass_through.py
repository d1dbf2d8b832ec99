"""Options of vLLM that are passed through under vLLM's own names, checked and typed by vLLM's parser.

The names are read from vLLM's source: importing vLLM takes seconds, and a wrong name should be refused at
once.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from anytime_server.errors import UnusableOption, first_line

if TYPE_CHECKING:
    import argparse

_MODEL = "--model names the model, and its folder has the tokenizer"
_GENERATES = "the server only generates text"
_SAMPLING = "defaults of the sampling come from the model's folder, and others from the request"
_THINKING = "the server separates thinking from answers; see --reasoning-preset"
REFUSED = {
    "model": "--model names the model",
    "model_weights": "--model names the model",
    "tokenizer": _MODEL,
    "hf_config_path": _MODEL,
    "tokenizer_revision": _MODEL,
    "skip_tokenizer_init": "JSON answers need the tokenizer",
    "tokens_only": "JSON answers need the tokenizer",
    "served_model_name": "--name names the model in the API",
    "runner": _GENERATES,
    "convert": _GENERATES,
    "pooler_config": _GENERATES,
    "generation_config": _SAMPLING,
    "override_generation_config": _SAMPLING,
    "reasoning_parser": _THINKING,
    "reasoning_parser_plugin": _THINKING,
    "reasoning_config": _THINKING,
    "scheduling_policy": "answers run before thinking, which needs the policy `priority`",
    "enable_prefix_caching": "an answer finds its thinking in the prefix cache",
    "worker_extension_cls": "the server extends the workers, so that they end with it and take new weights",
    "disable_log_stats": "the server reads vLLM's statistics at each step",
    "enable_log_requests": "--log-level info logs requests",
}
"""Options that the server sets itself, and why."""
STRUCTURED_OUTPUTS = {"backend": "guidance"}
"""vLLM's name for llguidance. By default, vLLM uses another library where it can."""
REFUSED_STRUCTURED_OUTPUTS = {
    "backend": "the server checks schemas for llguidance",
    "reasoning_parser": _THINKING,
    "reasoning_parser_plugin": _THINKING,
    "enable_in_reasoning": _THINKING,
}
YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def flag(name: str) -> str:
    """An option as it is written on the command line."""
    return f"--vllm.{name.replace('_', '-')}"


@cache
def known_names() -> frozenset[str]:
    """Fields of vLLM's `AsyncEngineArgs`; empty without vLLM."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset()
    try:
        source = (Path(spec.origin).parent / "engine" / "arg_utils.py").read_bytes()
    except OSError:
        return frozenset()
    return frozenset(
        statement.target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if not statement.target.id.startswith("_")
    )


def require_usable(options: Mapping[str, Any], *, own_names: Collection[str]) -> None:
    """Check the names of options that are passed through; their values are checked by `typed_values()`.

    Args:
        own_names: options of this server, for the near match of a name that is not known.

    Raises:
        UnusableOption: vLLM has no option of that name, or the server sets it itself.
    """
    known = known_names()
    for name, value in options.items():
        if (reason := REFUSED.get(name)) is not None:
            raise UnusableOption(f"{flag(name)}: {reason}")
        if known and name not in known:
            near = difflib.get_close_matches(name, (known | set(own_names)) - set(REFUSED), n=1)
            hint = f"; did you mean {flag(near[0])}?" if near else ""
            raise UnusableOption(f"{flag(name)}: vLLM has no such option{hint}")
        if name == "structured_outputs_config":
            for key in _keys(value) & set(REFUSED_STRUCTURED_OUTPUTS):
                raise UnusableOption(f"{flag(name)}.{key}: {REFUSED_STRUCTURED_OUTPUTS[key]}")


def typed_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The values as vLLM's parser types them. Imports vLLM.

    Args:
        options: values by name: text as on a command line, or numbers, booleans, lists and tables of TOML.

    Raises:
        UnusableOption: vLLM refuses a value.
    """
    if not options:
        return {}
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ValueError(message)

    parser = AsyncEngineArgs.add_cli_args(Parser(add_help=False, allow_abbrev=False))
    actions = {action.dest: action for action in parser._actions}  # pyright: ignore[reportPrivateUsage]
    typed: dict[str, Any] = {}
    for name, given in options.items():
        is_structured = name == "structured_outputs_config"
        value = STRUCTURED_OUTPUTS | _table(name, given) if is_structured else given
        if (action := actions.get(name)) is None:
            # A field that has no flag in vLLM either.
            typed[name] = _table(name, value) if name.endswith("_config") else value
            continue
        try:
            typed[name] = getattr(parser.parse_args(_arguments(action, value)), name)
        except Exception as error:
            raise UnusableOption(f"{flag(name)}: {_reason(error)}") from error
    return typed


def _arguments(action: argparse.Action, value: Any) -> list[str]:
    """One option as the arguments of a command line.

    Raises:
        ValueError: it is a switch, and the value is none of a switch.
    """
    option = next(text for text in action.option_strings if text.startswith("--"))
    if action.nargs == 0:
        off = f"--no-{option.removeprefix('--')}"
        return [option] if _is_on(value) else [off] if off in action.option_strings else []
    if action.nargs in ("+", "*"):
        values = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        return [option, *map(_text, values)]
    return [f"{option}={_text(value)}"]


def _is_on(value: Any) -> bool:
    text = str(value).lower()
    if text not in (*YES, *NO):
        raise ValueError("must be true or false")
    return text in YES


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _keys(value: Any) -> set[str]:
    try:
        return set(_table("", value))
    except UnusableOption:
        return set()  # vLLM's parser says what is wrong


def _table(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise UnusableOption(f"{flag(name)}: must be a table, or an object in JSON")
    return value


def _reason(error: Exception) -> str:
    """The first line of an error of the parser, without argparse's name of the argument."""
    lines = re.sub(r"^argument \S+: ", "", str(error)).strip().splitlines()
    # pydantic's heading names only the type of the configuration.
    if len(lines) > 2 and re.fullmatch(r"\d+ validation errors? for \w+", lines[0]):
        message = re.sub(r" \[type=.*", "", lines[2].strip())
        return f"{lines[1].strip()}: {message}"
    return lines[0] if lines else first_line(error)
