"""The format of thinking and how it is truncated: the one truth shared by server and training.

Pure Python on token ids. Knows no engine, no HTTP and no tensor library.
"""

from anytime_server.reasoning.agreement import normalized_answer
from anytime_server.reasoning.budget import (
    ANSWER_RESERVE,
    TokenLimits,
    require_within_window,
    resolve_limits,
    usual_answer_tokens,
)
from anytime_server.reasoning.channels import ChannelTexts, Part
from anytime_server.reasoning.effort import Effort, EffortLevel, effort_budget
from anytime_server.reasoning.families import FAMILIES, NO_THINKING, FamilyName, recognised
from anytime_server.reasoning.family import Evidence, Family, Signs, Switch
from anytime_server.reasoning.format import ReasoningFormat, ReasoningTexts, Tokenizer
from anytime_server.reasoning.loop import LoopDetector, LoopRule
from anytime_server.reasoning.manifest import AccuracyPoint, Manifest
from anytime_server.reasoning.markers import num_begun
from anytime_server.reasoning.opening import PromptEnd, is_within_thinking, opener_at, prompt_end
from anytime_server.reasoning.sampling import FALLBACK, NEUTRAL, SamplingDefaults, SamplingOptions
from anytime_server.reasoning.sentence import first_sentence_end
from anytime_server.reasoning.think_end import NOT_BEGUN, ThinkingTail, thinking_tail
from anytime_server.reasoning.truncation import Cause, Forcing, Truncation, truncate_thinking

__all__ = [
    "ANSWER_RESERVE",
    "FALLBACK",
    "FAMILIES",
    "NEUTRAL",
    "NOT_BEGUN",
    "NO_THINKING",
    "AccuracyPoint",
    "Cause",
    "ChannelTexts",
    "Effort",
    "EffortLevel",
    "Evidence",
    "Family",
    "FamilyName",
    "Forcing",
    "LoopDetector",
    "LoopRule",
    "Manifest",
    "Part",
    "PromptEnd",
    "ReasoningFormat",
    "ReasoningTexts",
    "SamplingDefaults",
    "SamplingOptions",
    "Signs",
    "Switch",
    "ThinkingTail",
    "TokenLimits",
    "Tokenizer",
    "Truncation",
    "effort_budget",
    "first_sentence_end",
    "is_within_thinking",
    "normalized_answer",
    "num_begun",
    "opener_at",
    "prompt_end",
    "recognised",
    "require_within_window",
    "resolve_limits",
    "thinking_tail",
    "truncate_thinking",
    "usual_answer_tokens",
]
