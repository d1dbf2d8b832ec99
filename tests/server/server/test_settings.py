"""Options of `anytime serve`: the order of their sources, and the errors of invalid values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from anytime_server.errors import UnusableOption
from anytime_server.reasoning import FAMILIES
from anytime_server.server.settings import ServeSettings, load_settings

pytestmark = pytest.mark.usefixtures("environment")

PORTS = {"flag": 1111, "environment": 2222, "file": 3333, "default": 8000}
SEQS = {"flag": 11, "environment": 22, "file": 33, "default": None}


@pytest.mark.parametrize("seconds", ["inf", "nan", "-1", "1e400"])
def test_the_drain_time_is_finite(seconds: str) -> None:
    with pytest.raises(UnusableOption, match="drain-s"):
        load_settings(["--drain-s", seconds])


def test_defaults_serve_the_bundled_model_on_vllm_locally() -> None:
    settings = load_settings([])
    assert (settings.model, settings.engine, settings.host, settings.port) == (
        None,
        "vllm",
        "127.0.0.1",
        8000,
    )


@pytest.mark.parametrize("with_flag", [False, True])
@pytest.mark.parametrize("with_environment", [False, True])
@pytest.mark.parametrize("with_file", [False, True])
def test_flags_override_environment_overrides_file_overrides_defaults(
    environment: pytest.MonkeyPatch,
    toml: Callable[[str], str],
    with_file: bool,
    with_environment: bool,
    with_flag: bool,
) -> None:
    argv: list[str] = []
    if with_file:
        argv += [
            "--config",
            toml(f"port = {PORTS['file']}\n[vllm]\nmax_num_seqs = {SEQS['file']}\n"),
        ]
    if with_environment:
        environment.setenv("ANYTIME_PORT", str(PORTS["environment"]))
        environment.setenv("ANYTIME_VLLM__MAX_NUM_SEQS", str(SEQS["environment"]))
    if with_flag:
        argv += ["--port", str(PORTS["flag"]), "--vllm.max-num-seqs", str(SEQS["flag"])]
    settings = load_settings(argv)
    given = {"flag": with_flag, "environment": with_environment, "file": with_file, "default": True}
    winner = next(source for source, is_given in given.items() if is_given)
    assert settings.port == PORTS[winner]
    assert settings.vllm.max_num_seqs == SEQS[winner]


def test_sources_are_merged_within_nested_options(
    environment: pytest.MonkeyPatch, toml: Callable[[str], str]
) -> None:
    environment.setenv("ANYTIME_VLLM__MAX_NUM_SEQS", "7")
    path = toml('[vllm]\ndtype = "float32"\nmax_num_seqs = 9\n[scripted]\nanswer = "-4"\n')
    settings = load_settings(["--vllm.window-tokens", "64", "--config", path])
    assert settings.vllm.window_tokens == 64
    assert settings.vllm.max_num_seqs == 7
    assert settings.vllm.dtype == "float32"
    assert settings.vllm.kv_cache_mib is None
    assert settings.scripted.answer == "-4"


def test_the_environment_may_name_the_file(
    environment: pytest.MonkeyPatch, toml: Callable[[str], str]
) -> None:
    environment.setenv("ANYTIME_CONFIG", toml("port = 3333\n"))
    assert load_settings([]).port == 3333


def test_the_flag_for_the_file_overrides_the_environment(
    environment: pytest.MonkeyPatch, toml: Callable[[str], str]
) -> None:
    environment.setenv("ANYTIME_CONFIG", "/there/is/no/such/file.toml")
    assert load_settings([f"--config={toml('port = 3333')}"]).port == 3333


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", "--prot: unknown option, in /"),
        ("[vllm]\nmax_seqs = 1", "--vllm.max-seqs: "),
        ("[server]\nport = 1", "--server: "),
        ("port = 65536", "--port: "),
        ('engine = "abacus"', "--engine: "),
        ('reasoning_preset = "parrot"', "--reasoning-preset: "),
        ("[vllm]\ngpu_memory_utilization = 1.5", "--vllm.gpu-memory-utilization: "),
        ("vllm = 3", "--vllm: "),
        ("[scripted]\nanswer = ''", "--scripted.answer: "),
    ],
)
def test_the_file_is_validated(toml: Callable[[str], str], text: str, named: str) -> None:
    with pytest.raises(UnusableOption) as refused:
        load_settings(["--config", toml(text)])
    assert str(refused.value).startswith(named)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("ANYTIME_PORT", "eighty", "port"),
        ("ANYTIME_PORT", "", "port"),
        ("ANYTIME_ENGINE", "abacus", "engine"),
        ("ANYTIME_VLLM__MAX_SEQS", "1", "vllm.max-seqs"),
        ("ANYTIME_VLLM", "{", "vllm"),
        ("ANYTIME_SCRIPTED__THINKING_TOKENS", "0", "scripted.thinking-tokens"),
    ],
)
def test_the_environment_is_validated(
    environment: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    environment.setenv(variable, value)
    with pytest.raises(UnusableOption, match=named):
        load_settings([])


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--port", "eighty"], "--port: "),
        (["--port", "-1"], "--port: "),
        (["--engine", "abacus"], "--engine: "),
        (["--max-body-bytes", "12"], "--max-body-bytes: "),
        (["--max-header-bytes", "12"], "--max-header-bytes: "),
        (["--max-messages", "5000"], "--max-messages: "),
        (["--cors-origins", "https://a.example,b.example"], "--cors-origins.1: must be origins such as"),
        (["--cors-origins", "https://a.example/"], "--cors-origins.0: "),
        (["--forwarded-allow-ips", "proxy"], "--forwarded-allow-ips.0: must be addresses or networks"),
        (["--vllm.tensor-parallel-size", "0"], "--vllm.tensor-parallel-size: "),
    ],
)
def test_flags_are_validated(argv: list[str], named: str) -> None:
    with pytest.raises(UnusableOption) as refused:
        load_settings(argv)
    assert str(refused.value).startswith(named)


def test_origins_are_separated_by_commas_or_a_list(
    environment: pytest.MonkeyPatch, toml: Callable[[str], str]
) -> None:
    both = ("https://a.example", "http://b.example:3000")
    path = toml(f"cors_origins = {list(both)}")
    assert load_settings(["--config", path]).cors_origins == both
    assert load_settings(["--cors-origins", ",".join(both)]).cors_origins == both
    environment.setenv("ANYTIME_CORS_ORIGINS", ", ".join(both))
    assert load_settings([]).cors_origins == both
    assert load_settings(["--cors-origins", "*"]).cors_origins == ("*",)


@pytest.mark.parametrize(
    "argv",
    [
        ["--prot", "1"],
        ["--por", "1"],  # abbreviations would break when an option is added
        ["stray"],
        ["--config"],
    ],
)
def test_a_malformed_command_line_exits_with_usage(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        load_settings(argv)
    assert exited.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UnusableOption, match=r"--config: no/such\.toml: No such file"):
        load_settings(["--config", "no/such.toml"])


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableOption, match=f"--config: {tmp_path}: "):
        load_settings(["--config", str(tmp_path)])


@pytest.mark.parametrize("content", [b"port = ", b"port = 1\nport = 2\n", b"\xff\xfep\x00o\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "serve.toml"
    path.write_bytes(content)
    with pytest.raises(UnusableOption, match=f"--config: {path}: "):
        load_settings(["--config", str(path)])


def test_help_describes_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        load_settings(["--help"])
    assert exited.value.code == 0
    output = " ".join(capsys.readouterr().out.split())
    assert output.startswith("usage: anytime serve")
    for name, option in ServeSettings.model_fields.items():
        assert option.description, f"{name} has no help text"
        assert " ".join(option.description.split()) in output


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("qwen33", "there is no family 'qwen33'; did you mean qwen3? ("),
        ("zork", "there is no family 'zork' ("),
    ],
)
def test_unknown_preset_is_refused_with_the_nearest(name: str, reason: str) -> None:
    with pytest.raises(UnusableOption) as refused:
        load_settings(["--reasoning-preset", name])
    assert str(refused.value).startswith(
        f"--reasoning-preset: {reason}docs/models.md and `anytime serve --help` list"
    )
    assert len(str(refused.value)) < 200


def test_every_preset_can_be_chosen() -> None:
    annotation = ServeSettings.model_fields["reasoning_preset"].annotation
    choices = {choice for part in get_args(annotation) for choice in get_args(part)}
    assert choices == set(FAMILIES)
