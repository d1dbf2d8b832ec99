"""Mathematical equality, against manual verdicts, and texts that hang a grader."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from anytime_training.tasks.grader_pool import GraderPool
from anytime_training.tasks.math_grader import is_math_equal

RIGHT = [
    (r"\frac{1}{2}", r"So it is $\frac{1}{2}$."),
    (r"\frac{1}{2}", r"\frac{1}{2}"),
    (r"\frac{1}{2}", r"\boxed{0.5}"),
    ("1/2", r"\boxed{\frac12}"),
    (r"$\frac12$", r"\boxed{1/2}"),
    (r"\boxed{7}", r"\boxed{7}"),
    ("7", "**Final Answer** 7"),
    ("7", r"First 3, then 4. \boxed{7} is what we get."),
    ("-3", r"\boxed{-3}"),
    ("1,234", "1234"),
    (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"),
    ("x^2+2x+1", r"\boxed{(x+1)^2}"),
    ("[0,1)", r"\boxed{[0,1)}"),
    ("[0,1)", "[0, 1)"),
    ("(1,2)", r"\boxed{(1,2)}"),
    (r"\{1,2\}", r"\boxed{2, 1}"),
    (r"50\%", r"\boxed{0.5}"),
    (r"50\%", "50%"),
    ("18", r"\boxed{18\text{ cm}}"),
    (r"18\text{ cm}", "18"),
    (r"90^\circ", r"\boxed{90}"),
    ("5", r"\boxed{x=5}"),
    (r"\text{(C)}", r"\boxed{C}"),
    (r"\text{(C)}", r"\boxed{\text{(C)}}"),
    (r"\text{(C)}", "(C)"),
    (r"\text{(C)}", "C"),
    (r"\text{Monday}", "Monday"),
    ("5", "5."),
    ("5", "**5.**"),
    ("0.5", ".5"),
    ("-12", "-12"),
    (r"\sqrt{2}", r"\sqrt 2"),
    ("3", "3 apples"),
]
WRONG = [
    ("2", r"\frac{1}{2}"),
    ("1", r"\frac{1}{2}"),
    (r"\frac{1}{2}", r"\boxed{\frac{1}{3}}"),
    (r"\frac{1}{2}", r"\boxed{-\frac{1}{2}}"),
    ("-3", r"\boxed{3}"),
    ("3", r"\boxed{-3}"),
    ("[0,1)", r"\boxed{(0,1)}"),
    ("(2,1)", r"\boxed{(1,2)}"),
    (r"50\%", r"\boxed{5}"),
    ("18", r"\boxed{19\text{ cm}}"),
    (r"\text{(C)}", r"\boxed{\text{(B)}}"),
    (r"\text{(C)}", "(B)"),
    (r"\text{Monday}", r"\boxed{\text{Tuesday}}"),
    ("7", r"\boxed{5} \boxed{7}"),
    ("7", r"\boxed{5, 6, 7}"),
    ("1", "[0, 1)"),
    ("5", "7 or 6"),
    ("5", "I do not know."),
    ("5", r"\boxed{}"),
    ("5", r"\boxed{5"),
    ("5", ""),
    ("5", " \n\t"),
]
HANGING = ["9**9**9**9", r"$9^{9^{9^{9}}}$", r"$((((1000000!)!)!)!)$"]
"""Texts that occupy sympy for hours, in code that no signal interrupts."""


@pytest.fixture(scope="module")
def pool() -> Iterator[GraderPool]:
    pool = GraderPool("math", num_processes=1)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [(*pair, True) for pair in RIGHT] + [(*pair, False) for pair in WRONG],
)
def test_verdicts(pool: GraderPool, answer: str, text: str, right: bool) -> None:
    assert is_math_equal(answer, text, timeout_s=20, pool=pool) is right


@pytest.mark.parametrize("text", HANGING)
def test_a_text_that_hangs_is_wrong_within_the_limit_and_the_next_is_graded(
    pool: GraderPool, text: str
) -> None:
    assert is_math_equal("5", "5.", timeout_s=20, pool=pool)
    start = time.monotonic()
    assert not is_math_equal("5", text, timeout_s=1, pool=pool)
    assert time.monotonic() - start < 4
    assert is_math_equal("5", "5.", timeout_s=20, pool=pool)


@pytest.mark.parametrize(
    "text", ["{" * 5000, "\\frac" * 3000, "\x00", "\ud800", "(" * 999, "$" * 999, "∫" * 50]
)
def test_no_text_raises(pool: GraderPool, text: str) -> None:
    assert not is_math_equal("5", text, timeout_s=2, pool=pool)


def test_only_the_end_of_a_huge_text_is_graded(pool: GraderPool) -> None:
    start = time.monotonic()
    assert is_math_equal("5", "1+" * 5_000_000 + r" so \boxed{5}", timeout_s=20, pool=pool)
    assert not is_math_equal("5", r"\boxed{5}" + " dum" * 1_000_000, timeout_s=20, pool=pool)
    assert time.monotonic() - start < 20


@pytest.mark.nightly
def test_threads_get_the_same_verdicts_as_one_thread() -> None:
    jobs = ([(*pair, True) for pair in RIGHT] + [(*pair, False) for pair in WRONG]) * 3
    pool = GraderPool("math", num_processes=2)
    try:
        with ThreadPoolExecutor(8) as threads:
            verdicts = threads.map(lambda job: is_math_equal(*job[:2], timeout_s=20, pool=pool), jobs)
            assert list(verdicts) == [job[2] for job in jobs]
    finally:
        pool.close()


def test_shared_pool_is_the_default() -> None:
    assert is_math_equal("5", "5.", timeout_s=20)
    assert not is_math_equal("5", "6", timeout_s=20)
