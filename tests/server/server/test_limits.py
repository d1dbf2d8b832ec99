"""Aliases, limits on requests and efforts as options give them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from anytime_server.auth import RequestLimits
from anytime_server.errors import UnusableOption
from anytime_server.server.limits import operator_limits
from anytime_server.server.settings import load_settings

pytestmark = pytest.mark.usefixtures("environment")

TABLES = """
alias = ["gpt-5"]
max_budget = 4096
[efforts]
low = 256
[aliases.fast]
max_budget = 512
[aliases."*"]
default_deadline_ms = 9000
"""


@pytest.mark.parametrize("argv", [["--alias", "a,b", "--alias", "c"], ["--alias", "a", "--alias=b, c"]])
def test_aliases_may_be_repeated_and_separated_by_commas(argv: list[str]) -> None:
    limits = operator_limits(load_settings(argv), ["tiny"])
    assert limits.aliases == {name: RequestLimits() for name in "abc"}


def test_limits_as_flags_and_in_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ANYTIME_MAX_BUDGET", "9")
    environment.setenv("ANYTIME_ALIAS", "a, b")
    environment.setenv("ANYTIME_EFFORTS", "low=5, high=7")
    limits = operator_limits(load_settings(["--default-budget", "4", "--max-deadline-ms", "60"]), [])
    server = limits.server
    assert (server.default_budget, server.max_budget, server.max_deadline_ms) == (4, 9, 60)
    assert (list(limits.aliases), limits.efforts) == (["a", "b"], {"low": 5, "high": 7})


def test_tables_give_aliases_limits_of_their_own(toml: Callable[[str], str]) -> None:
    limits = operator_limits(load_settings(["--config", toml(TABLES)]), ["tiny"])
    assert limits.server.max_budget == 4096
    assert limits.efforts == {"low": 256}
    assert limits.aliases.keys() == {"gpt-5", "fast", "*"}
    assert limits.aliases["gpt-5"].max_budget is None
    assert limits.aliases["fast"].max_budget == 512
    assert limits.aliases["*"].default_deadline_ms == 9000


@pytest.mark.parametrize("text", [TABLES, "[aliases.tiny]\nmax_budget = 1\n", 'alias = ["french"]\n'])
def test_alias_cannot_be_the_name_of_a_model(toml: Callable[[str], str], text: str) -> None:
    settings = load_settings(["--config", toml(text)])
    with pytest.raises(UnusableOption, match=r"--alias: (fast|tiny|french): is a name of the model"):
        operator_limits(settings, ["tiny", "french", "fast"])


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        (["--max-budget", "-1"], "--max-budget: "),
        (["--max-answer-tokens", "0"], "--max-answer-tokens: "),
        (["--default-deadline-ms", "0"], "--default-deadline-ms: "),
        (["--efforts", "low"], "--efforts: must be efforts and thinking tokens such as low=512,high=4096"),
        (["--efforts", "low=x"], "--efforts"),
        (["--efforts", "low=0"], "--efforts.low: "),
        (["--efforts", "none=5"], "--efforts.none"),
        (["--efforts", "extreme=5"], "--efforts.extreme"),
    ],
)
def test_unusable_limits_are_refused(argv: list[str], fault: str) -> None:
    with pytest.raises(UnusableOption) as refused:
        load_settings(argv)
    assert str(refused.value).startswith(fault)


def test_unknown_limits_of_an_alias_are_refused(toml: Callable[[str], str]) -> None:
    with pytest.raises(UnusableOption, match=r"aliases\.fast\.concurrency"):
        load_settings(["--config", toml("[aliases.fast]\nconcurrency = 1\n")])
