"""Sampling options of a request: checked for engine and vocabulary, then completed by the defaults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from anytime_server.engine import Engine, Sampling
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import SamplingOptions
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest

ENDS_ITSELF = "the form of the answer says where it ends"
USUAL = Sampling(max_tokens=1)
"""Its values ask an engine for nothing."""


class SamplingResolver:
    """Resolves the options of requests to one model on one engine."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self._model = model
        self._engine = engine
        self._num_ids = model.tokenizer.num_ids

    def fit(self, request: GenerateRequest) -> GenerateRequest:
        """The request without options that the engine cannot honour, which are reported.

        Raises:
            InvalidRequest: a value is impossible for the model; names the field by its neutral path.
        """
        request = replace(
            request,
            thinking=self._honoured(request, "thinking", request.thinking),
            answer=self._honoured(request, "answer", request.answer),
        )
        for phase, options in (("thinking", request.thinking), ("answer", request.answer)):
            self._check_ids(request, f"{phase}.logit_bias", options.logit_bias or ())
            self._check_ids(request, f"{phase}.stop_token_ids", options.stop_token_ids or ())
            self._check_words(request, f"{phase}.bad_words", options.bad_words or ())
        if isinstance(request.text, tuple):
            self._check_ids(request, "messages", request.text)
        self._check_lengths(request)
        if request.constraint is None and not request.required_tools:
            return request
        if (request.least_tokens or 0) > 1:
            request.ignore("least_tokens", ENDS_ITSELF)
        return replace(request, answer=self._beside_schema(request, request.answer), least_tokens=None)

    def _honoured(self, request: GenerateRequest, phase: str, options: SamplingOptions) -> SamplingOptions:
        unsupported = sorted(self._engine.unsupported_sampling)
        for name in unsupported:
            if getattr(options, name) not in (None, getattr(USUAL, name)):
                request.ignore(f"{phase}.{name}", "this engine does not support it")
        return options.without(unsupported)

    def _check_ids(self, request: GenerateRequest, path: str, token_ids: Iterable[int]) -> None:
        if (largest := max(token_ids, default=0)) >= self._num_ids:
            raise InvalidRequest(
                f"{request.name_of(path)}: there is no token id {largest}; the model has ids up to "
                f"{self._num_ids - 1}",
                field=path,
            )

    def _check_words(self, request: GenerateRequest, path: str, words: Iterable[str]) -> None:
        for word in words:
            if not self._model.tokenizer.encode(word.lstrip()):
                raise InvalidRequest(f"{request.name_of(path)}: {word!r} has no token", field=path)

    def _check_lengths(self, request: GenerateRequest) -> None:
        thinking, answer = request.thinking.min_tokens, request.answer.min_tokens
        window = ("the model's window", self._engine.window_tokens)
        for path, least, limit_path, most in (
            ("thinking.min_tokens", thinking, "budget", request.budget_tokens),
            ("thinking.min_tokens", thinking, *window),
            ("answer.min_tokens", answer, "answer.max_tokens", request.answer_tokens),
            ("answer.min_tokens", answer, "the server's maximum", request.answer_cap_tokens),
            ("answer.min_tokens", answer, "total_tokens", request.total_tokens),
            ("answer.min_tokens", answer, *window),
            ("least_tokens", request.least_tokens, "total_tokens", request.total_tokens),
            ("least_tokens", request.least_tokens, *window),
        ):
            if least is not None and most is not None and least > most:
                raise InvalidRequest(
                    f"{request.name_of(path)} of {least} is more than "
                    f"{request.name_of(limit_path)} of {most}",
                    field=path,
                )

    def _beside_schema(self, request: GenerateRequest, options: SamplingOptions) -> SamplingOptions:
        """Options of an answer in JSON, which says itself where it ends."""
        own_ids = set(options.stop_token_ids or ()) - self._model.reasoning.eos_ids
        without = [
            name
            for name, is_given in (
                ("ignore_eos", options.ignore_eos),
                ("min_tokens", (options.min_tokens or 0) > 1),
                ("stop_token_ids", own_ids),
                ("bad_words", options.bad_words),
            )
            if is_given
        ]
        for name in without:
            why = "no word can be kept out of an answer with a form" if name == "bad_words" else ENDS_ITSELF
            request.ignore(f"answer.{name}", why)
        return options.without(without)

    def thinking(self, request: GenerateRequest) -> SamplingOptions:
        """The client's options of the thinking over the model's."""
        return self._resolved(request.thinking, self._model.sampling.thinking)

    def answer(self, request: GenerateRequest) -> SamplingOptions:
        """The same of the answer."""
        return self._resolved(request.answer, self._model.sampling.answer)

    def _resolved(self, options: SamplingOptions, defaults: SamplingOptions) -> SamplingOptions:
        # A default that the engine cannot honour must not keep the model from being used.
        return options.over(defaults.without(self._engine.unsupported_sampling))
