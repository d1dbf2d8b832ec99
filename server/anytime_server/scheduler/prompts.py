"""Prompts of requests: rendered by the chat template, or as they are, in threads where they are long.

Knows nothing of limits beyond the window, which bounds the work.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from anytime_server.session import Runtime
from anytime_server.text.prompt import BegunTurn, Prompt
from anytime_server.types import GenerateRequest

BUDGET_VARIABLE = "thinking_budget"
"""Variable of chat templates that show the model its budget."""
SHORT_PROMPT = 4096
"""Characters that are tokenised faster than a thread could be started for them."""
PROMPT_THREADS = 2
"""Long prompts that are rendered at the same time."""


class PromptRenderer:
    """Renders the prompts of requests to one model on one engine, which has started."""

    def __init__(self, runtime: Runtime) -> None:
        self._model = runtime.model
        self._engine = runtime.engine
        self._threads = ThreadPoolExecutor(PROMPT_THREADS, thread_name_prefix="prompts")

    @property
    def show_budget(self) -> bool:
        """Whether the chat template shows the model its budget."""
        return BUDGET_VARIABLE in self._model.tokenizer.chat.variables

    async def render(
        self, request: GenerateRequest, *, thinking: bool = True, is_bounded: bool = True
    ) -> Prompt:
        """The conversation, with thinking open at its end if there can be any; or the text, as it is.

        A long prompt is rendered in a thread, a few at a time: a megabyte takes most of a second, and more
        than a hundred megabytes of memory. The work ends soon after this call is cancelled.

        Args:
            thinking: False for the chat template's form without thinking.
            is_bounded: whether a prompt that is much longer than the window is refused.

        Raises:
            InvalidRequest: the chat template refuses the conversation, or it is much too long.
        """
        abandoned = threading.Event()
        prompt = partial(
            self._renderer(request, thinking=thinking),
            window_tokens=self._engine.window_tokens if is_bounded else None,
            abandoned=abandoned,
        )
        rendered = (request.text, request.messages, request.tools, request.template_variables)
        if sum(len(str(part)) for part in rendered) <= SHORT_PROMPT:
            return prompt()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, prompt)
        finally:
            abandoned.set()

    def _renderer(self, request: GenerateRequest, *, thinking: bool) -> Callable[..., Prompt]:
        """Makes the prompt of a request, given `window_tokens` and `abandoned`."""
        model = self._model
        if request.text is not None:
            return partial(
                model.raw_prompt,
                request.text,
                may_think=request.thinks_in_text,
                adds_special=request.adds_special_tokens,
            )
        begun = self.begun_turn(request)
        turns = request.messages if begun is None else request.messages[:-1]
        arguments = (turns, list(request.tools) or None)
        variables = self._template_variables(request)
        if begun is None or begun == BegunTurn():
            return partial(model.prompt, *arguments, thinking=thinking, variables=variables)
        return partial(model.begun_prompt, *arguments, begun=begun, variables=variables)

    def begun_turn(self, request: GenerateRequest) -> BegunTurn | None:
        """The assistant's turn that the request is to continue."""
        if request.adds_turn or not request.messages or request.messages[-1]["role"] != "assistant":
            return None
        return BegunTurn.of(request.messages[-1], self._model.manifest)

    def _template_variables(self, request: GenerateRequest) -> dict[str, Any]:
        """Variables of the chat template that follow from the request, and those that it gives itself."""
        model, variables = self._model, {}
        if (word := self.effort_word(request)) is not None:
            variables[model.family.effort_variable] = word
        if request.budget_tokens is not None and self.show_budget:
            variables[BUDGET_VARIABLE] = request.budget_tokens
        return variables | dict(request.template_variables)

    def effort_word(self, request: GenerateRequest) -> str | None:
        """The effort as the chat template names it; None where the model does not see it."""
        family, variables = self._model.family, self._model.tokenizer.chat.variables
        if request.effort is None or request.text is not None or family.effort_variable not in variables:
            return None
        return (family.efforts.get(request.effort) if family.efforts else request.effort) or None

    async def signed_ids(self, request: GenerateRequest, prompt: Prompt) -> list[int]:
        """The prompt that continuation tokens are bound to: it does not show the model its budget."""
        if request.budget_tokens is None or BUDGET_VARIABLE not in self._template_variables(request):
            return prompt.ids
        return (await self.render(replace(request, budget_tokens=None))).ids

    async def no_thinking_ids(
        self, request: GenerateRequest, prompt: Prompt, *, may_call_tools: bool
    ) -> list[int] | None:
        """Prompt of an answer without thinking, where one is needed and the template has a form of it."""
        model = self._model
        if not prompt.is_open or not (model.switch.off or model.switch.system_off):
            return None
        if request.budget_tokens != 0 and 0 not in request.budgets:
            return None
        form_ids = model.reasoning.form_without_thinking(may_call_tools=may_call_tools)
        return (await self.render(request, thinking=False)).closed(form_ids)
