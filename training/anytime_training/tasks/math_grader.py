"""Whether an answer is mathematically the right one: math-verify, where it can do no harm.

math-verify hangs on some answers, and its own time limits do not work in threads; so it runs in
processes that are killed at ours. Cuts texts and catches plain cases; the rest is math-verify's.
"""

from __future__ import annotations

from anytime_training.tasks.judge_pool import JudgePool, shared_pool

MAX_CHARACTERS = 2000
"""How much of a text is looked at, from its end: where answers are."""


def is_math_equal(answer: str, text: str, *, timeout_s: float, pool: JudgePool | None = None) -> bool:
    """Whether the text gives the answer: its last box or formula, or the last number in it.

    Never raises, whatever the text. One that takes longer than `timeout_s` to judge is wrong, as
    is a blank one.

    Args:
        answer: the right answer, in LaTeX or plain; a box around it or dollar signs do no harm.
        pool: the judges to ask; those that all tasks share where it is None.

    Raises:
        TrainingFailed: math-verify cannot be run at all.
    """
    text = text[-MAX_CHARACTERS:].strip()
    if not text:
        return False
    if text == answer.strip():
        return True
    return (pool or shared_pool("math")).score(answer, text, limit_s=timeout_s) == 1.0
