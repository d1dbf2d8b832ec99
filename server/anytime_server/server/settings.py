"""Options of `anytime serve`: defaults, then a TOML file, then the environment, then flags."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    CliToggleFlag,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from anytime_server.engine.scripted import Script
from anytime_server.engine.transformers import TransformersOptions
from anytime_server.engine.vllm import VllmOptions
from anytime_server.errors import UnusableOption


def _origin(value: str) -> str:
    if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", value):
        raise PydanticCustomError(
            "origin", "must be origins such as https://example.com, without a path, or *"
        )
    return value


Origin = Annotated[str, AfterValidator(_origin)]


def _split(value: Any) -> Any:
    parts = value.split(",") if isinstance(value, str) else value
    return [part.strip() for part in parts if part.strip()] if isinstance(parts, list) else parts


class ServeSettings(BaseSettings):
    """Serve a reasoning model over HTTP.

    Every option is also an environment variable (ANYTIME_PORT, ANYTIME_VLLM__DTYPE, ...) and a
    key of the TOML file.
    """

    model_config = SettingsConfigDict(
        env_prefix="ANYTIME_",
        env_nested_delimiter="__",
        extra="forbid",
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_prog_name="anytime serve",
        nested_model_default_partial_update=True,
    )

    config: str | None = None
    """TOML file to take options from; the environment and flags outrank it."""
    model: str | None = None
    """Folder of the checkpoint, or its name on the Hugging Face hub; the bundled one by default."""
    name: str | None = None
    """What clients call the model; by default what its manifest says, or its folder's name."""
    engine: Literal["vllm", "transformers", "scripted"] = "vllm"
    """What computes: vLLM, transformers where vLLM is not installed, or a deterministic script without
    a model, for tests."""
    reasoning_preset: Literal["deepseek-r1", "qwen3", "magistral"] | None = None
    """Family whose way to think the model follows, over its anytime.json and what its vocabulary tells."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 picks a free one."""
    keys: str | None = None
    """API keys: a TOML file of them, which is read again when it changes, or `name:sha256,...`. Without any,
    whoever reaches the server may ask."""
    allow_anonymous: CliToggleFlag[bool] = False
    """Listen where others reach the server, even without keys."""
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = ()
    """Origins of web pages that may use the server, as https://example.com, with commas between.
    `*` is any."""
    shed: Literal["none", "budget"] = "none"
    """What to do when more is asked than there is room for: `none` lets requests wait; `budget` shortens
    thinking, along the accuracy curve in the model's anytime.json, so that hardly any waits."""
    continuation_key: SecretStr | None = None
    """Secret that continuations are signed with, 16 characters or more; replicas share it. By default one of
    this user's own, kept in ~/.local/state/anytime."""
    tool_parser: str | None = None
    """vLLM's parser of the model's tool calls (hermes, deepseek_v3, ...); its family's by default."""
    max_header_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 1 << 16
    """Most bytes in the headers of a request, names and values."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """Largest request body."""
    max_messages: Annotated[int, Field(ge=1, le=4096)] = 1024
    """Most messages in a conversation."""
    drain_s: Annotated[float, Field(ge=0, le=86_400)] = 30
    """Seconds that requests under way get to end when the server is told to stop."""
    max_waiting: Annotated[int, Field(ge=0)] = 1024
    """Requests that may wait for room in the engine; further ones are refused with 503."""
    client_stall_s: Annotated[float, Field(ge=1, le=86_400)] = 60
    """Seconds after which a client is hung up on that takes nothing of what it is sent."""
    engine_stall_s: Annotated[float, Field(ge=0)] = 120
    """Seconds without a token, while requests wait for some, after which the engine is killed and started
    again; 0 never does. More than the longest prompt takes."""
    engine_restart_wait_s: Annotated[float, Field(ge=0)] = 60
    """Seconds that a request under way waits for the engine when it died and is started again."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """What to log, to standard error; `info` has a line for each request and each session."""
    log_format: Literal["text", "json"] = "text"
    """How to log: lines of text, or a JSON object a line."""
    log_content: CliToggleFlag[bool] = False
    """Log what users ask and what they are answered, too, be it personal; needs `--log-level info`."""
    otlp_endpoint: Annotated[str, Field(pattern="^https?://")] | None = None
    """Where to send traces, over OTLP/HTTP, as http://HOST:4318; where OTEL_EXPORTER_OTLP_ENDPOINT says by
    default, and nowhere without either. Needs the extra `otel`."""
    vllm: VllmOptions = VllmOptions()
    """The vLLM engine."""
    transformers: TransformersOptions = TransformersOptions()
    """The transformers engine."""
    scripted: Script = Script()
    """The scripted engine."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Where the default is none, the text says what happens then."""

    def _expand_help(self, action: argparse.Action) -> str:
        return super()._expand_help(action).replace(" (default: None)", "")


def load_settings(argv: Sequence[str]) -> ServeSettings:
    """Read all sources. Help and faults of the command line itself exit, as argparse does.

    Raises:
        UnusableOption: an option has a value that it cannot have, or the file cannot be read.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=os.environ.get("ANYTIME_CONFIG"))
    path = finder.parse_known_args(argv)[0].config

    class Settings(ServeSettings):
        __doc__ = inspect.cleandoc(ServeSettings.__doc__ or "")
        model_config = SettingsConfigDict(toml_file=path)

    try:
        if path is not None:
            tomllib.loads(Path(path).read_text(encoding="utf-8"))
        source = CliSettingsSource(Settings, formatter_class=_Help)
        return CliApp.run(Settings, cli_args=list(argv), cli_settings_source=source)
    except OSError as error:
        raise UnusableOption(f"--config: {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnusableOption(f"--config: {path}: {error}") from error
    except SettingsError as error:
        raise UnusableOption(str(error)) from error
    except ValidationError as error:
        fault = error.errors()[0]
        option = ".".join(str(part) for part in fault["loc"]).replace("_", "-")
        raise UnusableOption(f"--{option}: {fault['msg']}") from error
