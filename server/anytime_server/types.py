"""Nouns that every layer shares: a request's context, and the request in no dialect."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anytime_server.auth import Account
from anytime_server.engine.constraint import Constraint
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.printable import beginning
from anytime_server.reasoning import Effort, Forcing, LoopRule, SamplingOptions

MAX_IGNORED = 64
"""Ignored fields of one request that are reported."""


ReasoningField = Literal["reasoning_content", "reasoning", "both"]
"""Where a chat completion has its thinking: under DeepSeek's name, under vLLM's, or under both."""


class IgnoredFields:
    """Fields of one request that have no effect, as they are found; or they are refused instead."""

    def __init__(self, *, is_strict: bool = False) -> None:
        self.is_strict = is_strict
        self.refuses = is_strict
        """Whether they are refused: by a strict server, and in the project's own dialect."""
        self._kinds: dict[str, tuple[str, bool]] = {}
        """Field and whether it is known, by the field without the positions in lists."""

    def add(self, field: str, why: str) -> None:
        """Ignore a field that is known, but cannot be honoured.

        Args:
            field: its path on the wire, such as `tools.0.strict`. Of the items of a list, only the first is
                reported.

        Raises:
            NotSupported: such fields are refused.
        """
        if self.refuses:
            raise NotSupported(f"{field}: {why}", field=field)
        self._note(field, is_known=True)

    def add_keyword(self, field: str, why: str) -> None:
        """Ignore a keyword of a JSON schema; its path has names of the client's own.

        Raises:
            NotSupported: such fields are refused.
        """
        if self.refuses:
            raise NotSupported(f"{beginning(field)}: {why}", field=beginning(field))
        self.note_keyword(field)

    def note_keyword(self, field: str) -> None:
        """The same once an answer has been sampled: it is too late to refuse."""
        self._note(beginning(field), is_known=False)

    def add_unknown(self, field: str) -> None:
        """Ignore a field that is unknown; its name is the client's own, and can be anything.

        Raises:
            InvalidRequest: such fields are refused.
        """
        field = beginning(field)
        if self.refuses:
            raise InvalidRequest(f"{field}: unknown field", field=field)
        self._note(field, is_known=False)

    def _note(self, field: str, *, is_known: bool) -> None:
        kind = ".".join(part for part in field.split(".") if not part.isdecimal())
        if len(self._kinds) < MAX_IGNORED:
            self._kinds.setdefault(kind, (field, is_known))

    @property
    def fields(self) -> list[str]:
        """Their paths on the wire."""
        return [field for field, _ in self._kinds.values()]

    @property
    def kinds(self) -> list[str]:
        """Their paths without positions in lists; `unknown` for fields with names of the client's own."""
        return [kind if is_known else "unknown" for kind, (_, is_known) in self._kinds.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """An HTTP request as known before its body is read: time, id, API key, trace."""

    arrived_at: float = field(default_factory=time.monotonic)
    """`time.monotonic()` of the request's arrival; deadlines count from here."""
    request_id: str | None = None
    """The client's own `X-Request-Id`, or a generated id; None without HTTP."""
    account: Account | None = None
    """The API key's account; None where no keys are required."""
    ignored: IgnoredFields = field(default_factory=IgnoredFields)
    """Fields of its body that have no effect, added where they are found."""
    traceparent: str | None = None
    """W3C trace context of the caller."""
    tracestate: str | None = None
    """Vendor-specific part of the trace context."""

    @property
    def client(self) -> str:
        """Name of the API key; empty where no keys are required."""
        return self.account.name if self.account else ""

    def is_from(self, account: Account | None) -> bool:
        """Whether the request came with that account's key; compared by name, since keys can be reloaded."""
        return (self.account and self.account.name) == (account and account.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWhen:
    """When early answers count as settled."""

    stable: int
    """Early answers in a row that must agree, at least 2."""
    every_tokens: int
    """Thinking tokens from one early answer to the next."""
    min_confidence: float = 0.0
    """Mean token probability below which an answer agrees with no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetShare:
    """A budget as a share of another number of tokens."""

    share: float
    of: Literal["prompt", "max_tokens"] = "prompt"
    """`prompt`: the rendered prompt. `max_tokens`: the client's limit of that name, on thinking and answer
    together or on the answer alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A request in no dialect: what to answer, and how long to think about it.

    Its values have valid types; whether they fit the model is found by `scheduler/compile.py`.
    """

    messages: Sequence[dict[str, Any]]
    """Turns with `role` and `content`, as the chat template takes them. A last turn of the assistant is
    continued: it is the beginning of the answer."""
    adds_turn: bool = False
    """Whether a further turn of the assistant follows its last one, instead of continuing it."""
    text: str | tuple[int, ...] | None = None
    """A text to continue, or its token ids, in place of messages."""
    thinks_in_text: bool = False
    """Whether thinking that the text ends within is continued as such; otherwise it is text."""
    adds_special_tokens: bool = True
    """Whether the text gets the special tokens that the tokenizer adds around texts."""
    model: str | None = None
    """Model name given by the client; None for the model that is served."""
    budget_tokens: int | None = None
    """The most thinking tokens; None for all that fits."""
    is_unlimited: bool = False
    """Whether the client asks for unlimited thinking; False where it says nothing."""
    lowers_budget: bool = False
    """Whether the budget is no number of the client's own: it is lowered where it leaves the answer too
    little. The client's own is refused instead."""
    budget_share: BudgetShare | None = None
    """The budget as a share; beside `budget_tokens`, the smaller applies."""
    grace_tokens: int = 0
    """The most tokens over the budget, to the end of a sentence."""
    max_budget_tokens: int | None = None
    """The most that the operator lets the budget with its grace be, or be raised to."""
    keeps_room: bool = False
    """Whether a number that is below `total_tokens`, but leaves the answer too little, is lowered, and that
    reported, instead of refused."""
    deadline_s: float | None = None
    """Seconds from the request's arrival by which the last answer token is due."""
    answer_tokens: int | None = None
    """The most answer tokens, for which room is kept; None for all that the window leaves."""
    answer_cap_tokens: int | None = None
    """The most answer tokens that the operator allows; no room is kept for them."""
    total_tokens: int | None = None
    """The most tokens of thinking and answer together."""
    least_tokens: int | None = None
    """Tokens of thinking and answer together before which the answer does not end."""
    budgets: tuple[int, ...] = ()
    """Thinking tokens at which to give early answers, ascending."""
    stop_when: StopWhen | None = None
    """Stop the thinking when early answers agree."""
    stop_loop: LoopRule | Literal[False] | None = None
    """Stop the thinking at a repetition loop; False for never, None for the server's choice."""
    continuation: str | None = None
    """Continuation token of an earlier session: its thinking is resumed."""
    continued_text: str | None = None
    """Thinking text that came with the continuation token; must match the token."""
    thinking: SamplingOptions = field(default_factory=SamplingOptions)
    """How the thinking is sampled; the model's own defaults apply where an option is not given."""
    answer: SamplingOptions = field(default_factory=SamplingOptions)
    """How answers are sampled; the same."""
    skip_special_tokens: bool = True
    """Whether special tokens are left out of the answer's text."""
    forcing: Forcing | None = None
    """How the model is made to answer after a truncation; None for the manifest's choice."""
    stop: tuple[str, ...] = ()
    """Strings before which the answer ends."""
    constraint: Constraint | None = None
    """The form of the answer; a call of a tool need not have it."""
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template, over those that follow from the rest of the request."""
    effort: Effort | None = None
    """Reasoning effort: for chat templates that know efforts, and the budget where there is no other."""
    top_logprobs: int | None = None
    """Report answer tokens with this many of the likeliest alternatives each; None reports no tokens."""
    scores_prompt: bool = False
    """Whether the tokens of the prompt are reported, too."""
    with_confidence: bool = True
    """Whether answers report a confidence, which costs engine time at each of their tokens."""
    tools: Sequence[dict[str, Any]] = ()
    """Functions that the model may call, as chat templates take them."""
    required_tools: tuple[str, ...] = ()
    """Names of functions of which one must be called; empty where the model decides."""
    max_tool_calls: int | None = None
    """The most tool calls of an answer, further ones are dropped; None for no limit."""
    seed: int | None = None
    id_prefix: str = "any-"
    """Beginning of the session's id."""
    context: RequestContext = field(default_factory=RequestContext)
    field_names: Mapping[str, str] = field(default_factory=dict)
    """The client's own name for a field of this request, where the dialect has another."""

    @property
    def has_budget(self) -> bool:
        """Whether the client says how long to think, in other words than an effort."""
        return self.is_unlimited or self.budget_tokens is not None or self.budget_share is not None

    def ignore(self, path: str, why: str) -> None:
        """Report a field that has no effect, by its neutral path.

        Raises:
            NotSupported: the server is strict.
        """
        self.context.ignored.add(self.field_names.get(path, path), why)

    def name_of(self, path: str | None) -> str | None:
        """The client's name of a neutral field path, such as `budget` or `messages`."""
        return None if path is None else self.field_names.get(path, path)
