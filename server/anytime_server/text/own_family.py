"""The family of a model whose thinking only its manifest describes."""

from __future__ import annotations

from anytime_server.errors import UnusableModel
from anytime_server.reasoning import Evidence, Family, Manifest
from anytime_server.text.tokenizer import ModelTokenizer

OWN_FAMILY = "own-manifest"
"""Name of the family of a model whose thinking only its manifest describes."""
NOT_IN_TEMPLATE = (
    "Neither its vocabulary nor its chat template has the markers of its manifest; they are looked for in "
    "its text."
)


def as_described(manifest: Manifest, family: Family, evidence: Evidence, tokenizer: ModelTokenizer) -> Family:
    """The recognised family, or where a manifest describes other thinking, a family of the model's own.

    Raises:
        UnusableModel: the manifest is not this model's: its markers are no markers, or the model knows only
            one of them.
    """
    markers = {"think_start": manifest.think_start, "think_end": manifest.think_end}
    unknown = [
        field
        for field, text in markers.items()
        if text and not evidence.has_token(text) and text.strip() not in evidence.template
    ]
    if len(unknown) == 1:
        raise UnusableModel(
            f"the manifest's {unknown[0]} {markers[unknown[0]]!r} is neither a token of this model's "
            "tokenizer nor in its chat template, unlike its other marker; correct it, or name the family "
            "with --reasoning-preset",
            field=unknown[0],
        )
    if (manifest.think_start, manifest.think_end) == (family.texts.think_start, family.texts.think_end):
        return family
    _require_distinct_markers(manifest, tokenizer)
    return Family(
        name=OWN_FAMILY,
        models="as its anytime.json says",
        texts=manifest.texts,
        note=NOT_IN_TEMPLATE if unknown else "",
    )


def _require_distinct_markers(manifest: Manifest, tokenizer: ModelTokenizer) -> None:
    """Check that the markers of a model's own family differ from text, the end of a turn and each other."""
    added = tokenizer.hugging_face.get_added_vocab()
    start, end = manifest.think_start, manifest.think_end
    for field, text, other in (("think_start", start, end), ("think_end", end, start)):
        reason = None
        if other and other in text:
            reason = f"contains the other marker {other!r}"
        elif tokenizer.eos_ids.intersection(tokenizer.encode(text)):
            reason = "contains a token that ends the turn"
        elif text.strip().isalnum() and text not in added:
            reason = "is an ordinary word, which any text may contain"
        if reason is not None:
            raise UnusableModel(f"the manifest's {field} {text!r} {reason}", field=field)
