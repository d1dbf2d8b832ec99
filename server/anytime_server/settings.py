"""Options of `anytime serve`: defaults, then a TOML file, then the environment, then flags."""

from __future__ import annotations

import argparse
import inspect
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from anytime_server.engine.scripted import Script
from anytime_server.engine.transformers import TransformersOptions
from anytime_server.engine.vllm import VllmOptions
from anytime_server.errors import UnusableOption


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
    shed: Literal["none", "budget"] = "none"
    """What to do when more is asked than there is room for: `none` lets requests wait; `budget` shortens
    thinking, along the accuracy curve in the model's anytime.json, so that hardly any waits."""
    continuation_key: SecretStr | None = None
    """Secret that continuations are signed with, 16 characters or more; replicas share it. By default one of
    this user's own, kept in ~/.local/state/anytime."""
    tool_parser: str | None = None
    """vLLM's parser of the model's tool calls (hermes, deepseek_v3, ...); its family's by default."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """Largest request body."""
    drain_s: Annotated[float, Field(ge=0, le=86_400)] = 30
    """Seconds that requests under way get to end when the server is told to stop."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """What to log, to standard error."""
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
