"""The transformers engine on the device: the engines' own tests, run by pytest."""

from __future__ import annotations

import pytest

from gpu_check.record import ROOT
from gpu_check.stages import CheckFailed, Context

FILES = (
    "tests/server/engine/test_conformance.py",
    "tests/server/engine/test_constraints.py",
    "tests/server/engine/transformers/test_engine.py",
)
SELECTED = "transformers_engine or plain_models_logprobs"
"""The transformers engine's conformance, and its log-probabilities against those of the plain model."""
SELECTED_TINY = "transformers_engine and (max_tokens or seed or prefixes)"


class _Outcomes:
    """Counts the tests, and keeps the reports of those that failed."""

    def __init__(self, context: Context) -> None:
        self.passed = 0
        self.skipped = 0
        self.failed: list[str] = []
        self._context = context

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            name = report.nodeid.removeprefix("tests/server/engine/")
            self.failed.append(name)
            self._context.report(f"failure {name}", report.longreprtext[-1500:])
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1


def run(context: Context) -> None:
    outcomes = _Outcomes(context)
    status = pytest.main(
        [
            *(str(ROOT / file) for file in FILES),
            f"--rootdir={ROOT}",
            f"--config-file={ROOT / 'pyproject.toml'}",
            "-k",
            SELECTED_TINY if context.tiny else SELECTED,
            "--device",
            context.device,
            "-q",
            "-W",
            "default",
            "-p",
            "no:cacheprovider",
        ],
        plugins=[outcomes],
    )
    context.report(
        "tests", {"passed": outcomes.passed, "skipped": outcomes.skipped, "failed": outcomes.failed}
    )
    if status != pytest.ExitCode.OK or not outcomes.passed:
        raise CheckFailed(f"pytest: {pytest.ExitCode(status).name}, {len(outcomes.failed)} tests failed")
