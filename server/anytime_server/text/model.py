"""The model that is served, as text sees it: tokenizer, chat template, reasoning format, manifest.

Knows no engine: weights are the engine's.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from anytime_server.errors import ContextOverflow, InvalidRequest, UnusableModel
from anytime_server.reasoning import (
    FAMILIES,
    NOT_BEGUN,
    Evidence,
    Family,
    Forcing,
    Manifest,
    PromptEnd,
    ReasoningFormat,
    SamplingDefaults,
    SamplingOptions,
    ThinkingTail,
    is_within_thinking,
    opener_at,
    prompt_end,
    recognised,
    thinking_tail,
)
from anytime_server.text.chat_template import Turns, with_system_switch
from anytime_server.text.generation_config import CONFIG, sampling_defaults
from anytime_server.text.json_file import json_object
from anytime_server.text.own_family import OWN_FAMILY, as_described
from anytime_server.text.prompt import BegunTurn, Prompt
from anytime_server.text.tokenizer import ModelTokenizer

BUNDLED_MODELS = Path(__file__).parents[1] / "checkpoints"
BUNDLED_MODEL = BUNDLED_MODELS / "demo"
ENDING_TOKENS = 64
"""Tokens at the end of a prompt that are enough for any opener of an answer."""


class Model:
    """A model that is served under one name."""

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        tokenizer: ModelTokenizer,
        manifest: Manifest,
        family: Family,
        has_own_manifest: bool = True,
    ) -> None:
        self.name = name
        self.folder = folder
        self.tokenizer = tokenizer
        self.manifest = manifest
        self.family = family
        self.note = "" if has_own_manifest and family.name != OWN_FAMILY else family.note
        """Advice to those who serve it."""
        self.reasoning = ReasoningFormat.from_texts(manifest.texts, tokenizer)
        self.switch = tokenizer.chat.switch(family.switch)
        # A checkpoint with a manifest of its own is sampled as it was trained, unless it says otherwise.
        of_family = SamplingOptions(**{} if has_own_manifest else family.sampling)
        self.sampling = sampling_defaults(
            folder, family_defaults=SamplingDefaults(thinking=of_family, answer=of_family)
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str | None = None,
        preset: str | None = None,
        manifest: Path | None = None,
        chat_template: str | None = None,
        forcing: Forcing | None = None,
        trust_remote_code: bool = False,
        check: Callable[[ModelTokenizer], None] | None = None,
    ) -> Model:
        """Read a checkpoint, all but its weights.

        Args:
            name: what clients call it; else the manifest's name, else the folder's.
            preset: family to take the reasoning texts from, over the manifest and recognition.
            manifest: file to use instead of the folder's `anytime.json`.
            chat_template: text of a Jinja template to use instead of the checkpoint's own.
            forcing: how answers begin, over the manifest.
            trust_remote_code: whether Python code of the checkpoint may run.
            check: called before the chat template is rendered for the first time.

        Raises:
            UnusableModel: it cannot be served, and why.
        """
        if not (folder / "config.json").is_file():
            raise UnusableModel(f"{folder} is not a checkpoint folder: it has no config.json", field="model")
        tokenizer = ModelTokenizer.load(
            folder, chat_template=chat_template, trust_remote_code=trust_remote_code
        )
        if check is not None:
            check(tokenizer)
        own = Manifest.read(manifest) if manifest is not None else Manifest.load(folder)
        evidence = _evidence(folder, tokenizer)
        family = recognised(evidence) if preset is None else _chosen(preset, evidence)
        has_own_manifest = own is not None
        if own is None:
            own = Manifest.of_family(family)
        elif preset is not None:
            own = own.with_texts(family.texts)
        else:
            family = as_described(own, family, evidence, tokenizer)
        if forcing is not None:
            own = own.model_copy(update={"forcing": forcing})
        return cls(
            name=name or own.name or folder.absolute().name,
            folder=folder,
            tokenizer=tokenizer,
            manifest=own,
            family=family,
            has_own_manifest=has_own_manifest,
        )

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template shows tools to the model (`tool_calls` alone are earlier turns)."""
        return self.tokenizer.chat.takes_tools

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the checkpoint's texts, configuration and a part of its weights."""
        digest = hashlib.sha256(self.manifest.texts.model_dump_json().encode())
        for path in sorted(self.folder.iterdir()):
            if path.name in ("config.json", "tokenizer.json"):
                digest.update(path.read_bytes())
            elif path.suffix == ".safetensors":
                size = path.stat().st_size
                digest.update(f"{path.name} {size}".encode())
                with path.open("rb") as file:
                    file.seek(size // 2)
                    digest.update(file.read(1 << 16))
        return digest.hexdigest()[:32]

    @cached_property
    def _opens_thinking(self) -> bool:
        """Whether the chat template opens the thinking itself, after a usual question."""
        text = _plain_prompt(self.tokenizer, self.switch.on)
        return prompt_end(text, self.manifest) is PromptEnd.OPEN

    def prompt(
        self,
        messages: Turns,
        tools: Sequence[dict[str, Any]] | None = None,
        *,
        thinking: bool = True,
        variables: Mapping[str, Any] | None = None,
        window_tokens: int | None = None,
        abandoned: threading.Event | None = None,
    ) -> Prompt:
        """The conversation with thinking open at its end, unless its chat template closes it.

        Args:
            thinking: whether thinking is wanted; some chat templates render another prompt without.
            variables: of the chat template, over the family's.
            window_tokens: the most tokens that are of use. A prompt may have a few more, but a prompt that
                has many more is refused before all of it is encoded.
            abandoned: ends the work when it is set.

        Raises:
            InvalidRequest: the chat template refuses the conversation, or it is much too long.
            CancelledError: it was abandoned.
        """
        text = self._rendered(messages, tools, thinking=thinking, variables=variables or {})
        end = prompt_end(text, self.manifest) if self.reasoning.thinks else PromptEnd.CLOSED
        ids = self._encoded(text, window_tokens, abandoned)
        if end is PromptEnd.OPEN:
            opener = text[opener_at(text, self.manifest) :]
            return Prompt(ids=ids, is_open=True, num_opener_tokens=self._num_tokens_of(opener, ids))
        if end is PromptEnd.CLOSED or (thinking and self._opens_thinking):
            # A template that usually opens the thinking, and does not here, wants none.
            return Prompt(ids=ids, is_open=False)
        opener_ids = self.reasoning.think_start_ids
        return Prompt(ids=[*ids, *opener_ids], is_open=True, num_opener_tokens=len(opener_ids))

    def begun_prompt(
        self,
        messages: Turns,
        tools: Sequence[dict[str, Any]] | None = None,
        *,
        begun: BegunTurn,
        variables: Mapping[str, Any] | None = None,
        window_tokens: int | None = None,
        abandoned: threading.Event | None = None,
    ) -> Prompt:
        """The conversation with the beginning of the assistant's turn at its end.

        Thinking of a model that does not think, or not in this conversation, is left out. Arguments and
        errors are those of `prompt()`.
        """
        prompt = self.prompt(
            messages,
            tools,
            thinking=bool(begun.thinking) or begun.is_thinking,
            variables=variables,
            window_tokens=window_tokens,
            abandoned=abandoned,
        )
        if prompt.is_open and begun.is_thinking:
            if not begun.thinking:
                return prompt
            ids = self._encoded(begun.thinking, window_tokens, abandoned)
            return Prompt(ids=[*prompt.ids, *ids], is_open=True)
        if prompt.is_open and begun.thinking:
            thinking_ids = self._encoded(begun.thinking, window_tokens, abandoned)
            opener_ids = self.reasoning.opener_of_answer(may_call_tools=bool(tools) and not begun.text)
            closed_ids = [*prompt.ids, *thinking_ids, *self.reasoning.think_end_ids, *opener_ids]
        else:
            closed_ids = self._closed(prompt)
        text_ids = self._encoded(begun.text, window_tokens, abandoned)
        ends_within = "answer" if begun.text else None
        return Prompt(ids=[*closed_ids, *text_ids], is_open=False, ends_within=ends_within)

    def raw_prompt(
        self,
        text: str | Sequence[int],
        *,
        may_think: bool = False,
        adds_special: bool = True,
        window_tokens: int | None = None,
        abandoned: threading.Event | None = None,
    ) -> Prompt:
        """A text without chat template, or its token ids.

        Args:
            may_think: whether thinking that the text ends within is continued as such; otherwise it is text
                like any other.
            adds_special: whether a text gets the special tokens around it that the tokenizer adds.
            window_tokens, abandoned: as in `prompt()`.

        Raises:
            InvalidRequest: it is empty, or much too long.
            CancelledError: it was abandoned.
        """
        if not isinstance(text, str):
            ids = list(text)
            text = self.tokenizer.decode(ids, keeps_special=True) if may_think else ""
        else:
            ids = self._encoded(text, window_tokens, abandoned, adds_special=adds_special)
        if not ids:
            raise InvalidRequest("the prompt is empty", field="messages")
        if may_think and self.reasoning.thinks and is_within_thinking(text, self.manifest):
            return Prompt(ids=ids, is_open=True)
        return Prompt(ids=ids, is_open=False, ends_within="text")

    def prompt_ids(self, messages: Turns, tools: Sequence[dict[str, Any]] | None = None) -> list[int]:
        """Ids of `prompt()`."""
        return self.prompt(messages, tools).ids

    def thinking_tail(self, thinking_ids: Sequence[int]) -> ThinkingTail:
        """How far the end of some thinking is into a think-end that is no single token."""
        think_end = self.reasoning.think_end_text
        if think_end is None:
            return NOT_BEGUN
        return thinking_tail(thinking_ids, think_end, self.tokenizer.decode)

    def _rendered(self, messages: Turns, tools: Any, *, thinking: bool, variables: Mapping[str, Any]) -> str:
        switch = self.switch
        return self.tokenizer.chat.render(
            with_system_switch(messages, switch, thinking=thinking),
            tools,
            variables={**(switch.on if thinking else switch.off), **variables},
        )

    def _closed(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt with the thinking closed, if it is open, and the answer opened."""
        reasoning, texts = self.reasoning, self.manifest
        ids = prompt.closed(reasoning.form_without_thinking(may_call_tools=False))
        if ids is None:
            return [*prompt.ids, *reasoning.think_end_ids, *reasoning.answer_start_ids]
        openers = [texts.answer_start]
        if texts.opens_answer_without_thinking:
            openers.append(texts.no_thinking or "")
        # A template without thinking may leave it to the model to open the answer.
        end = self.tokenizer.decode(ids[-ENDING_TOKENS:], keeps_special=True).rstrip()
        is_opened = end.endswith(tuple(opener.rstrip() for opener in openers))
        return [*ids, *(() if is_opened else reasoning.answer_start_ids)]

    def _encoded(
        self,
        text: str,
        window_tokens: int | None,
        abandoned: threading.Event | None,
        *,
        adds_special: bool = False,
    ) -> list[int]:
        if window_tokens is None:
            return self.tokenizer.encode(text, adds_special=adds_special)
        found = self.tokenizer.encode_within(
            text, window_tokens, abandoned=abandoned, adds_special=adds_special
        )
        if isinstance(found, int):
            raise ContextOverflow(
                f"the prompt of {len(text)} characters has more tokens than the model's window of "
                f"{window_tokens}",
                window_tokens=window_tokens,
                prompt_tokens=found,
                field="messages",
            )
        return found

    def _num_tokens_of(self, ending: str, ids: Sequence[int]) -> int:
        """Tokens at the end of a prompt whose text is this; 0 where a token reaches over its beginning."""
        for num in range(1, min(len(ending), len(ids)) + 1):
            text = self.tokenizer.decode(ids[-num:], keeps_special=True)
            if len(text) >= len(ending):
                return num if text == ending else 0
        return 0


def _evidence(folder: Path, tokenizer: ModelTokenizer) -> Evidence:
    switch = tokenizer.chat.switch(None)
    return Evidence(
        model_type=str(json_object(folder / CONFIG).get("model_type") or ""),
        has_token=lambda text: tokenizer.token_id(text) is not None,
        template=tokenizer.chat.text_with_tools,
        prompt=_plain_prompt(tokenizer, switch.on),
        has_switch=bool(switch.on),
    )


def _plain_prompt(tokenizer: ModelTokenizer, variables: Mapping[str, Any]) -> str:
    """The prompt of a plain question; empty if the chat template refuses it."""
    try:
        return tokenizer.chat.render([{"role": "user", "content": "?"}], variables=variables)
    except InvalidRequest:
        return ""


def _chosen(preset: str, evidence: Evidence) -> Family:
    """The family of this name; the tokens around its thinking must be in the vocabulary."""
    family = FAMILIES[preset]
    markers = family.texts.think_start + family.texts.think_end
    if missing := [text for text in family.signs.tokens if text in markers and not evidence.has_token(text)]:
        raise UnusableModel(
            f"--reasoning-preset {preset}: the model's vocabulary has no {missing[0]!r}",
            field="reasoning_preset",
        )
    return family
