"""Options of `anytime serve`: flags override the environment, which overrides a TOML file."""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
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

from anytime_server.auth import RequestLimits
from anytime_server.engine.scripted import Script
from anytime_server.engine.transformers import TransformersOptions
from anytime_server.engine.vllm import VllmOptions
from anytime_server.errors import UnusableOption
from anytime_server.printable import beginning
from anytime_server.reasoning import FAMILIES, EffortLevel, FamilyName, Forcing
from anytime_server.server.option_types import (
    ADAPTERS_FORM,
    EFFORTS_FORM,
    Origin,
    Proxy,
    read_adapters,
    read_efforts,
    read_list,
)
from anytime_server.server.vllm_flags import take_passed_through
from anytime_server.toml_file import read_toml
from anytime_server.types import ReasoningField


class AliasLimits(RequestLimits):
    """Limits of the requests for one alias."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(BaseModel):
    """The model, its names and its engine."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    config: str | None = None
    """TOML file of options; the environment and flags override it."""
    model: str | None = None
    """Folder of the checkpoint, or its name on the Hugging Face hub; by default the bundled model."""
    name: str | None = None
    """Name of the model in the API; by default its manifest's name, or its folder's."""
    alias: Annotated[tuple[str, ...], NoDecode, BeforeValidator(read_list)] = ()
    """Other names of the model, separated by commas; responses have the name that the request had. `*` takes
    every name."""
    aliases: dict[str, AliasLimits] = {}
    """Other names with defaults and maxima of their own: tables `[aliases.NAME]` of the TOML file, with the
    keys `default_budget` to `max_answer_tokens`."""
    engine: Literal["vllm", "transformers", "scripted"] = "vllm"
    """Engine: vLLM, transformers for machines without vLLM, or a deterministic script without a model,
    for tests."""
    reasoning_preset: FamilyName | None = None
    """Family of the model's reasoning format; overrides its anytime.json and the family that is recognised
    (which `anytime inspect MODEL` shows)."""
    manifest: str | None = None
    """JSON file to use as the model's anytime.json."""
    chat_template: str | None = None
    """Jinja file to use as the model's chat template."""
    forcing: Forcing | None = None
    """How an answer begins, unless the request says: `force` inserts the model's lead-in after the thinking,
    `close` inserts nothing, `auto` inserts it only where the thinking was truncated. By default the choice of
    the manifest, or `auto`."""
    efforts: Annotated[
        dict[EffortLevel, Annotated[int, Field(ge=1)]], NoDecode, BeforeValidator(read_efforts)
    ] = {}
    """Thinking tokens of reasoning efforts, such as `low=512,high=4096`, over those of the model's
    anytime.json; those left out have the server's defaults."""


class ServeSettings(  # pyright: ignore[reportIncompatibleVariableOverride]
    RequestLimits, ModelSettings, BaseSettings
):
    """Serve a reasoning model over HTTP.

    Each option is also an environment variable (ANYTIME_PORT, ANYTIME_VLLM__DTYPE, ...) and a key of the
    TOML file.
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

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 picks a free one."""
    reasoning_field: ReasoningField = "reasoning_content"
    """Field of chat completions that has the thinking, unless the request says otherwise: DeepSeek's
    `reasoning_content`, vLLM's `reasoning`, or `both`, which some clients show twice."""
    strict: CliToggleFlag[bool] = False
    """Refuse fields of requests that have no effect here, instead of ignoring and reporting them."""
    keys: str | None = None
    """API keys: a TOML file, which is read again when it changes, or `name:sha256,...`. Without keys, every
    client is served."""
    allow_anonymous: CliToggleFlag[bool] = False
    """Listen on addresses that other machines can reach, even without keys."""
    vllm_metric_names: CliToggleFlag[bool] = False
    """Expose the metrics also under the names of vLLM's own server (`vllm:...`), for its dashboards."""
    open_metrics: CliToggleFlag[bool] = False
    """Serve /metrics, /load and /version without an API key. Otherwise, on a server with keys, /metrics needs
    a key with the role `metrics`."""
    share_prefix_cache: CliToggleFlag[bool] = False
    """Share cached prefixes of prompts among all API keys. This saves memory and time where keys have long
    prompts in common, and shows a client whether another key has sent the same prompt."""
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(read_list)] = ()
    """Origins of web pages that may use the server, such as https://example.com, separated by commas; `*`
    allows all."""
    shed: Literal["none", "budget"] = "none"
    """Load shedding: with `none`, requests over the capacity wait; with `budget`, thinking budgets shrink,
    along the accuracy curve in the model's anytime.json, so that few requests wait."""
    stop_loops: CliToggleFlag[bool] = False
    """Stop thinking that repeats one phrase over and over, and answer; a request can say otherwise with
    `stop_when.loop`."""
    continuation_key: SecretStr | None = None
    """Secret that signs continuation tokens, at least 16 characters; replicas share it. By default it is
    this user's own, kept in ~/.local/state/anytime."""
    lora_modules: Annotated[dict[str, str], NoDecode, BeforeValidator(read_adapters)] = {}
    """LoRA adapters as NAME=FOLDER, or names on the Hugging Face hub, separated by commas; each is a model of
    its name in the API. For the vLLM engine."""
    tool_parser: str | None = None
    """Parser of the model's tool calls: one of vLLM's (hermes, deepseek_v3, ...) or of the server's own
    (toolcall_json, apriel, solar_open); by default the family's."""
    max_header_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 1 << 16
    """Maximum bytes in the headers of a request, names and values."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """Maximum bytes in the body of a request."""
    max_messages: Annotated[int, Field(ge=1, le=4096)] = 1024
    """Maximum number of messages in a conversation."""
    max_stored_responses: Annotated[int, Field(ge=0, le=1_000_000)] = 1024
    """Responses of the Responses API that are kept in memory, for `previous_response_id` and
    `GET /v1/responses/{id}`, up to a day after their last use; 0 stores none. The oldest of the API key with
    the most are dropped first. A request with `store: false` is never stored."""
    max_stored_bytes: Annotated[int, Field(ge=1)] = 1 << 26
    """Bytes that stored responses may take together, with their conversations."""
    drain_s: Annotated[float, Field(ge=0, le=86_400)] = 30
    """Seconds that running requests get to end when the server shuts down."""
    max_waiting: Annotated[int, Field(ge=0)] = 1024
    """Requests that may wait for a slot; requests over this limit get 503."""
    client_stall_s: Annotated[float, Field(ge=1, le=86_400)] = 60
    """Seconds without a read before the client is disconnected."""
    receive_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 30
    """Seconds for the head of a request to arrive, and again for its body, which gets one more second for
    each KiB received. Does not limit the time of the response."""
    keep_alive_s: Annotated[float, Field(gt=0, le=86_400)] = 75
    """Seconds that a connection without a request stays open. Must exceed the idle time-out, often 60, of a
    load balancer in front of the server."""
    max_connections: Annotated[int, Field(ge=1)] = 4096
    """Connections of clients at the same time; further ones get 503."""
    max_connections_per_address: Annotated[int, Field(ge=1)] = 2048
    """Connections of one IPv4 address, or one /64 network of IPv6, at the same time; further ones get 503.
    Behind a proxy, all clients have its address."""
    forwarded_allow_ips: Annotated[tuple[Proxy, ...], NoDecode, BeforeValidator(read_list)] = ()
    """Addresses or networks of proxies, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto are
    believed; `*` believes all. By default, none are."""
    tls_cert: str | None = None
    """PEM file of the certificate and its chain, for HTTPS; read again on SIGHUP."""
    tls_key: str | None = None
    """PEM file of the certificate's private key; by default it is in the file of the certificate."""
    tls_key_password: SecretStr | None = None
    """Password of the private key."""
    tls_client_ca: str | None = None
    """PEM file of authorities; clients then need a certificate from one of them."""
    engine_start_s: Annotated[float, Field(ge=1, le=86_400)] = 3600
    """Seconds for the engine to load the model, and again for the server's own first requests. A restart may
    take three times as long as the longest start so far, at least 60 seconds."""
    engine_stall_s: Annotated[float, Field(ge=0)] = 120
    """Seconds without any token, while requests wait for tokens, before the engine is restarted; 0 for never.
    Must exceed the time of the longest prompt."""
    engine_restart_wait_s: Annotated[float, Field(ge=0)] = 60
    """Seconds that a running request waits for the engine to restart."""
    engine_down_s: Annotated[float, Field(ge=1)] | None = None
    """Seconds without an engine after which /health returns 503, so that an orchestrator restarts the server;
    by default six times the longest start of the engine so far, at least 600."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """Level of the log, on standard error; `info` logs each request and each session."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log: lines of text, or one JSON object a line."""
    log_content: CliToggleFlag[bool] = False
    """Also log prompts and answers, which may be personal; needs `--log-level info`."""
    otlp_endpoint: Annotated[str, Field(pattern="^https?://")] | None = None
    """OTLP/HTTP receiver of traces, such as http://HOST:4318; by default OTEL_EXPORTER_OTLP_ENDPOINT, and
    without that no traces are sent. Needs the extra `otel`."""
    vllm: VllmOptions = VllmOptions()
    """Options of the vLLM engine. `--vllm.KEY VALUE` passes any other option of vLLM's through, under vLLM's
    own name."""
    transformers: TransformersOptions = TransformersOptions()
    """Options of the transformers engine."""
    scripted: Script = Script()
    """Options of the scripted engine."""

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


def _unknown_family(name: str) -> str:
    near = difflib.get_close_matches(name, FAMILIES, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return (
        f"there is no family {beginning(name)!r}{meant} (docs/models.md and `anytime serve --help` list them)"
    )


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows no default of None: the help text says what happens without the option."""

    def _expand_help(self, action: argparse.Action) -> str:
        return super()._expand_help(action).replace(" (default: None)", "")


def load_settings(argv: Sequence[str], *, command: argparse.ArgumentParser | None = None) -> ServeSettings:
    """Read all sources. Help and syntax errors of the command line exit, as in argparse.

    Args:
        command: parser of another command that takes these options, whose usage errors show.

    Raises:
        UnusableOption: an option has an invalid value, or the file cannot be read.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=os.environ.get("ANYTIME_CONFIG"))
    path = finder.parse_known_args(argv)[0].config

    class Settings(ServeSettings):
        __doc__ = inspect.cleandoc(ServeSettings.__doc__ or "")
        model_config = SettingsConfigDict(toml_file=path)

    try:
        if path is not None:
            read_toml(Path(path), option="--config")
        source = CliSettingsSource(Settings, formatter_class=_Help)
        if command is not None:
            source.root_parser.prog, source.root_parser.usage = command.prog, command.usage
        arguments, passed = take_passed_through(argv, own_names=VllmOptions.model_fields)
        given: Any = {"vllm": passed} if passed else {}
        settings = CliApp.run(Settings, cli_args=arguments, cli_settings_source=source, **given)
        settings.vllm.require_usable()
        if settings.lora_modules and settings.engine != "vllm":
            raise UnusableOption("--lora-modules: needs --engine vllm")
        return settings
    except SettingsError as error:
        if "lora_modules" in str(error):
            raise UnusableOption(f"--lora-modules: {ADAPTERS_FORM}") from error
        if "efforts" in str(error):
            raise UnusableOption(f"--efforts: {EFFORTS_FORM}") from error
        raise UnusableOption(str(error)) from error
    except ValidationError as error:
        fault = error.errors()[0]
        option = ".".join(str(part) for part in fault["loc"]).replace("_", "-")
        reason = fault["msg"]
        if fault["loc"] == ("reasoning_preset",):
            reason = _unknown_family(str(fault["input"]))
        if fault["type"] == "extra_forbidden":
            reason = (
                f"unknown option, in {'the environment' if path is None else f'{path} or the environment'}"
            )
        raise UnusableOption(f"--{option}: {reason}") from error
