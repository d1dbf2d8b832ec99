"""Tokenizers that a checkpoint has in another form than `tokenizer.json`, converted once.

Mistral's `tekken.json` is data. A tokenizer in Python code of the checkpoint's own, as of Kimi-K2 and
Hunyuan, is run once, where that is allowed: it has a tiktoken encoding, whose tables say everything.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.cache import cache_folder
from anytime_server.errors import UnusableModel, first_line
from anytime_server.text.json_file import json_object

if TYPE_CHECKING:
    from tiktoken import Encoding
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

TOKENIZER, TEKKEN, SETTINGS = "tokenizer.json", "tekken.json", "tokenizer_config.json"
CONFIG = "config.json"
"""vLLM looks for the type of the model beside the tokenizer."""
KEPT = (SETTINGS, CONFIG, "special_tokens_map.json", "chat_template.jinja", "additional_chat_templates")
"""Files beside a `tokenizer.json` that belong to it."""
SAMPLE = "Let 3,456 x 7 = 24192.\n\n  if n > 0:\n\treturn 'naïve' 東京は今日も雨 🎉 Привет"


def tokenizer_folder(folder: Path, *, trust_remote_code: bool = False) -> Path:
    """The folder of a checkpoint's `tokenizer.json`: its own, or one in the cache for a converted tokenizer.

    A conversion takes seconds. A tokenizer that transformers can read as it is stays as it is.

    Args:
        trust_remote_code: whether Python code of the checkpoint may run.

    Raises:
        UnusableModel: the tokenizer is code that may not run, or cannot be converted.
    """
    has_tokenizer, has_tekken = (folder / TOKENIZER).is_file(), (folder / TEKKEN).is_file()
    code = None if has_tokenizer or has_tekken else _code(folder)
    if not has_tekken and code is None:
        return folder
    if code is not None and not trust_remote_code:
        raise UnusableModel(
            f"the tokenizer in {folder} is code of its own ({code}); allow it to run with "
            "--vllm.trust-remote-code",
            field="trust_remote_code",
        )
    target = cache_folder("tokenizers") / _digest(folder)
    if (target / TOKENIZER).is_file():
        return target
    with tempfile.TemporaryDirectory(prefix="anytime-tokenizer-") as made:
        try:
            if has_tokenizer:
                _copy(folder, Path(made))
            elif has_tekken:
                _convert_tekken(folder, Path(made))
            else:
                _convert_code(folder, Path(made))
        except UnusableModel:
            raise
        except Exception as error:
            raise UnusableModel(
                f"the tokenizer in {folder} cannot be converted: {first_line(error)}"
            ) from error
        shutil.copy(folder / CONFIG, made)
        return _move(Path(made), target)


def _code(folder: Path) -> str | None:
    """The class of a tokenizer that is Python code of the checkpoint."""
    classes = json_object(folder / SETTINGS).get("auto_map")
    named = classes.get("AutoTokenizer") if isinstance(classes, dict) else None
    names = named if isinstance(named, list) else [named]
    return next((name for name in names if isinstance(name, str)), None)


def _digest(folder: Path) -> str:
    """Names a conversion: a hash of all files that it depends on."""
    import transformers

    digest = hashlib.sha256(transformers.__version__.encode())
    for path in sorted(folder.iterdir()):
        is_code = path.suffix in (".py", ".model", ".tiktoken")
        if path.is_file() and (is_code or path.name in (TOKENIZER, TEKKEN, *KEPT)):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _copy(folder: Path, target: Path) -> None:
    """Leave out tekken.json, which transformers prefers to the tokenizer.json beside it."""
    for name in (TOKENIZER, *KEPT):
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        elif source.is_file():
            shutil.copy(source, target / name)


def _convert_tekken(folder: Path, target: Path) -> None:
    from transformers.integrations.mistral.tokenizer import MistralConverter

    template = _tekken_template(folder)
    tokenizer = MistralConverter(str(folder / TEKKEN)).converted()
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    _save(tokenizer, target, chat_template=template, **names)


def _tekken_template(folder: Path) -> str | None:
    """The folder's own template, or the one that Mistral's library has for this version."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    try:
        from mistral_common.integrations.chat_templates.chat_templates import (
            convert_tokenizer_to_chat_template,
        )

        return convert_tokenizer_to_chat_template(str(folder / TEKKEN))
    except Exception:  # it is missing, or does not know the version: a template can be given
        return None


def _convert_code(folder: Path, target: Path) -> None:
    from tiktoken import Encoding
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=True)
    if own.is_fast:
        own.save_pretrained(target)
        return
    encoding = next((value for value in vars(own).values() if isinstance(value, Encoding)), None)
    if encoding is None:
        raise UnusableModel(
            f"the tokenizer in {folder}, {type(own).__name__}, is neither fast nor based on tiktoken"
        )
    tokenizer = _from_tiktoken(encoding, own)
    if tokenizer.encode(SAMPLE, add_special_tokens=False).ids != encoding.encode(SAMPLE):
        raise UnusableModel(f"the tokenizer in {folder}, {type(own).__name__}, cannot be converted exactly")
    names = {
        name: str(token)
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if (token := getattr(own, name, None)) is not None
    }
    _save(tokenizer, target, chat_template=own.chat_template, **names)


def _from_tiktoken(encoding: Encoding, own: PreTrainedTokenizerBase) -> Tokenizer:
    """A tokenizer with the ids of an encoding; `own` says which of its added tokens are special."""
    from tokenizers import AddedToken
    from transformers.convert_slow_tokenizer import TikTokenConverter

    ranks, added = encoding._mergeable_ranks, encoding._special_tokens  # pyright: ignore[reportPrivateUsage]
    # JSON cannot be spelled with a vocabulary that lacks ids.
    unused = set(range(encoding.n_vocab)) - set(ranks.values()) - set(added.values())
    added = added | {f"<|unused_{token_id}|>": token_id for token_id in sorted(unused)}

    class Converter(TikTokenConverter):
        @staticmethod
        def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
            return ranks

        def extract_vocab_merges_from_model(self, tiktoken_url: str) -> tuple[dict[str, int], Any]:
            vocabulary, merges = super().extract_vocab_merges_from_model(tiktoken_url)
            return vocabulary | added, merges

    flags = getattr(own, "added_tokens_decoder", {})
    text = [name for name, token_id in added.items() if token_id in flags and not flags[token_id].special]
    special = [name for name in added if name not in set(text)]
    tokenizer = Converter(
        pattern=encoding._pat_str,  # pyright: ignore[reportPrivateUsage]
        extra_special_tokens=special,
    ).converted()
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in text])
    return tokenizer


def _save(tokenizer: Tokenizer, target: Path, **settings: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(target)


def _move(made: Path, target: Path) -> Path:
    """Put a conversion in the cache, or where that cannot be written, in a temporary folder."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    except OSError:
        beside = target = Path(tempfile.mkdtemp(prefix="anytime-tokenizer-"))
    shutil.copytree(made, beside, dirs_exist_ok=True)
    if beside != target:
        try:
            beside.rename(target)
        except OSError:  # another server was faster
            shutil.rmtree(beside)
    return target
