"""Mathematical equality of answers: math-verify, in processes.

math-verify hangs on some answers, and its own time limits do not work in threads; so it runs in processes
that are killed at a time limit. This module shortens texts and handles plain cases; math-verify does the
rest.
"""

from __future__ import annotations

from anytime_training.tasks.grader_pool import GraderPool, shared_pool

MAX_CHARACTERS = 2000
"""Characters of a text that are graded, from its end, where answers are."""


def is_math_equal(answer: str, text: str, *, timeout_s: float, pool: GraderPool | None = None) -> bool:
    """Whether the text's last box or formula, or else its last number, equals the answer.

    Does not raise for any text. A blank text is wrong, and so is a text that takes longer than `timeout_s`.

    Args:
        answer: the right answer, in LaTeX or plain, perhaps in a box or dollar signs.
        pool: graders to use; None for the pool that all tasks share.

    Raises:
        TrainingFailed: math-verify cannot be run at all.
    """
    text = text[-MAX_CHARACTERS:].strip()
    if not text:
        return False
    if text == answer.strip():
        return True
    return (pool or shared_pool("math")).score(answer, text, limit_s=timeout_s) == 1.0
