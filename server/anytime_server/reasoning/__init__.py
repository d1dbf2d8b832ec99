"""The format of thinking and how it is cut: the one truth shared by server and training.

Pure Python on token ids. Knows no engine, no HTTP and no tensor library.
"""

from anytime_server.reasoning.agreement import normalized_answer
from anytime_server.reasoning.budget import TokenLimits, require_within_window, resolve_limits
from anytime_server.reasoning.format import ReasoningFormat, ReasoningTexts, Tokenizer
from anytime_server.reasoning.loop import LoopDetector, LoopRule
from anytime_server.reasoning.manifest import AccuracyPoint, Manifest
from anytime_server.reasoning.presets import PRESETS, FamilyName, detect_preset
from anytime_server.reasoning.truncation import Cause, Forcing, Truncation, open_thinking, truncate_thinking

__all__ = [
    "PRESETS",
    "AccuracyPoint",
    "Cause",
    "FamilyName",
    "Forcing",
    "LoopDetector",
    "LoopRule",
    "Manifest",
    "ReasoningFormat",
    "ReasoningTexts",
    "TokenLimits",
    "Tokenizer",
    "Truncation",
    "detect_preset",
    "normalized_answer",
    "open_thinking",
    "require_within_window",
    "resolve_limits",
    "truncate_thinking",
]
