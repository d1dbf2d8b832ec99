"""The tokenizer of the warm start, and its chat template.

Byte-level BPE: every text decodes to itself. A word includes the space after it. A digit is a token of its
own, so that `7 - 3` is three tokens and a digit is the same token everywhere; or frequent numbers are tokens,
alone and with the operator before them, so that `12 - 10` is two.
"""

from __future__ import annotations

from collections.abc import Iterable

from anytime_server.text.tokenizer import ModelTokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD = "<|pad|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
END_OF_TURN = "<|end|>"
THINK_START = "<think>"
THINK_END = "</think>"

_SPECIAL = (PAD, SYSTEM, USER, ASSISTANT, END_OF_TURN)
_THINKING = (THINK_START, THINK_END)

# A spaced operator; a word with its colon and space; a digit; punctuation with its space; other space.
_PIECES = r" [-+x*×] |\p{L}+:? ?|\p{N}|[^\s\p{L}\p{N}]+ ?|\s+"

# A spaced operator with its number; a word and its punctuation, or punctuation alone, without the space of an
# operator after it; a number; other space.
_NUMBER_PIECES = (
    r" [-+x*×=] \p{N}+| ?\p{L}+[:;!.]?(?: (?![-+x×*=] ))?|\p{N}+"
    r"|[^\s\p{L}\p{N}]+(?: (?![-+x×*=] ))?|\s+"
)

# Earlier thinking is dropped; the generation prompt opens new thinking.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- set content = message['content'] -%}"
    "{%- if message['role'] == 'assistant' -%}"
    f"{{%- set content = content.split('{THINK_END}')[-1].lstrip('\\n') -%}}"
    "{%- endif -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('a message has the role ' ~ message['role'] ~ "
    "'; known are system, user and assistant') -}}"
    "{%- endif -%}"
    f"{{{{- '<|' ~ message['role'] ~ '|>' ~ content ~ '{END_OF_TURN}' -}}}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    f"{{{{- '{ASSISTANT}{THINK_START}' -}}}}"
    "{%- endif -%}"
)


def build_tokenizer(
    texts: Iterable[str], *, vocab_size: int, window_tokens: int, whole_numbers: bool = False
) -> PreTrainedTokenizerFast:
    """Learn merges from `texts`.

    Args:
        vocab_size: number of entries, including special tokens.
        whole_numbers: numbers are not split into digits.
        window_tokens: the model's context length, recorded with the tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_NUMBER_PIECES if whole_numbers else _PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(_THINKING),
        min_frequency=2,
        show_progress=False,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in _THINKING])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END_OF_TURN,
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=window_tokens,
    )


def served_tokenizer(tokenizer: PreTrainedTokenizerFast) -> ModelTokenizer:
    """The tokenizer with the interface of the server."""
    return ModelTokenizer(tokenizer, eos_ids=frozenset({tokenizer.get_vocab()[str(tokenizer.eos_token)]}))
