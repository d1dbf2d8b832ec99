"""The families of reasoning models that are known, one file each, named as the family is.

To add one, write its file, and import it and list it in `FAMILIES` here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from anytime_server.reasoning.families import (
    apertus,
    apriel,
    cohere_2_moe,
    command_a_reasoning,
    deepseek_r1,
    deepseek_v3_1,
    deepseek_v3_2,
    deepseek_v4,
    ernie_4_5,
    exaone_4,
    exaone_deep,
    gemma_4,
    glm_4_5,
    gpt_oss,
    granite_3_2,
    granite_3_3,
    granite_4_2,
    hunyuan_a13b,
    hy3,
    kimi_k2_thinking,
    kimi_k3,
    laguna,
    ling_3,
    llama_nemotron,
    magistral,
    mimo,
    minimax_m2,
    minimax_m3,
    muse_glimmer,
    nemotron,
    no_thinking,
    olmo_3_think,
    phi_4_reasoning,
    qwen3,
    qwen3_thinking,
    seed_oss,
    smollm3,
    solar_open,
    step_3,
    think_tags,
)
from anytime_server.reasoning.family import Evidence, Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        # A checkpoint is of the first family whose signs it meets. "Before X": its checkpoints meet X's, too.
        gpt_oss.FAMILY,
        magistral.FAMILY,
        gemma_4.FAMILY,
        kimi_k3.FAMILY,
        kimi_k2_thinking.FAMILY,
        minimax_m3.FAMILY,
        minimax_m2.FAMILY,
        seed_oss.FAMILY,
        cohere_2_moe.FAMILY,  # before command_a_reasoning
        command_a_reasoning.FAMILY,
        apertus.FAMILY,
        apriel.FAMILY,
        solar_open.FAMILY,
        muse_glimmer.FAMILY,
        hunyuan_a13b.FAMILY,
        hy3.FAMILY,
        glm_4_5.FAMILY,
        ling_3.FAMILY,
        laguna.FAMILY,
        exaone_deep.FAMILY,
        exaone_4.FAMILY,
        granite_3_2.FAMILY,
        granite_3_3.FAMILY,  # before granite_4_2
        granite_4_2.FAMILY,
        ernie_4_5.FAMILY,
        step_3.FAMILY,
        olmo_3_think.FAMILY,
        phi_4_reasoning.FAMILY,
        smollm3.FAMILY,  # before qwen3
        llama_nemotron.FAMILY,
        nemotron.FAMILY,  # before qwen3
        deepseek_v3_1.FAMILY,  # before deepseek_r1
        deepseek_v3_2.FAMILY,  # before deepseek_r1
        deepseek_v4.FAMILY,  # before deepseek_r1
        deepseek_r1.FAMILY,  # before qwen3_thinking: distillations keep the vocabulary of Qwen
        mimo.FAMILY,  # before qwen3: the vocabulary is Qwen's
        qwen3.FAMILY,  # before qwen3_thinking
        qwen3_thinking.FAMILY,
        # For checkpoints of none of the families above.
        think_tags.FAMILY,
        no_thinking.FAMILY,
    )
}
"""By name."""
NO_THINKING = no_thinking.FAMILY

if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = Literal[tuple(FAMILIES)]


def recognised(evidence: Evidence) -> Family:
    """The family of a checkpoint; `NO_THINKING` fits every one."""
    return next(family for family in FAMILIES.values() if family.fits(evidence))
