"""The families of reasoning models that are known, one file each.

To add one, write its file and a line in `FAMILIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from anytime_server.reasoning.families import (
    apertus,
    apriel,
    cohere,
    deepseek_r1,
    deepseek_v3,
    ernie,
    exaone,
    exaone_deep,
    gemma4,
    glm,
    gpt_oss,
    granite_3,
    granite_4,
    hunyuan,
    hy3,
    kimi_k2,
    kimi_k3,
    laguna,
    ling3,
    llama_nemotron,
    mimo,
    minimax_m2,
    minimax_m3,
    mistral,
    muse_glimmer,
    nemotron,
    olmo3,
    phi4,
    qwen3,
    qwen3_thinking,
    seed_oss,
    smollm3,
    solar,
    step3,
)
from anytime_server.reasoning.family import Evidence, Family, think_tags
from anytime_server.reasoning.format import ReasoningTexts

NO_THINKING = Family(
    name="no-thinking",
    models="any model that does not think",
    texts=ReasoningTexts(think_start="", think_end="", truncation="", answer_lead_in=""),
    note="It does not think: every budget is 0.",
)
THINK_TAGS = Family(
    name="think-tags",
    models="any other model that thinks between <think> and </think>",
    texts=think_tags(),
    template=("<think>",),
    needs_opening=True,
    note="Its family is not known; its chat template mentions <think>.",
)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        # The first that fits is the checkpoint's.
        gpt_oss.FAMILY,
        mistral.FAMILY,
        gemma4.FAMILY,
        kimi_k3.FAMILY,
        kimi_k2.FAMILY,
        minimax_m3.FAMILY,
        minimax_m2.FAMILY,
        seed_oss.FAMILY,
        cohere.FAMILY_MOE,
        cohere.FAMILY,
        apertus.FAMILY,
        apriel.FAMILY,
        solar.FAMILY,
        muse_glimmer.FAMILY,
        hunyuan.FAMILY,
        hy3.FAMILY,
        glm.FAMILY,
        ling3.FAMILY,
        laguna.FAMILY,
        exaone_deep.FAMILY,
        exaone.FAMILY,
        granite_3.FAMILY_3_2,
        granite_3.FAMILY_3_3,
        granite_4.FAMILY,
        ernie.FAMILY,
        step3.FAMILY,
        olmo3.FAMILY,
        phi4.FAMILY,
        smollm3.FAMILY,
        llama_nemotron.FAMILY,
        nemotron.FAMILY,
        deepseek_v3.FAMILY,
        deepseek_v3.FAMILY_V3_2,
        deepseek_v3.FAMILY_V4,
        deepseek_r1.FAMILY,
        mimo.FAMILY,
        qwen3.FAMILY,
        qwen3_thinking.FAMILY,
        THINK_TAGS,
        NO_THINKING,
    )
}
"""By name."""


if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = Literal[tuple(FAMILIES)]


def recognised(evidence: Evidence) -> Family:
    """The family of a checkpoint; `NO_THINKING` fits every one."""
    return next(family for family in FAMILIES.values() if family.fits(evidence))
