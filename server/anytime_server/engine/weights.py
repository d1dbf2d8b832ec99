"""Files of weights: whether they are whole, and whether they fit. Looks at their headers alone."""

from __future__ import annotations

from pathlib import Path

from anytime_server.errors import WeightSyncFailed


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file.

    Raises:
        ValueError: the file is not whole.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error


def checkpoint_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The same of all the safetensors files of a checkpoint.

    vLLM tells of a broken file in two hundred lines; this in one.

    Raises:
        ValueError: one of them is not whole.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= tensor_shapes(path)
    return shapes


def require_same_tensors(weights: Path, folder: Path) -> None:
    """Hold a file of new weights against the checkpoint whose weights they are to replace.

    Raises:
        WeightSyncFailed: a tensor is missing, too many, or of another shape.
    """
    try:
        new, old = tensor_shapes(weights), checkpoint_shapes(folder)
    except (OSError, ValueError) as error:
        raise WeightSyncFailed(f"{weights} cannot be read: {error}") from error
    if old:
        require_same_shapes(new, old)


def require_same_shapes(new: dict[str, tuple[int, ...]], old: dict[str, tuple[int, ...]]) -> None:
    """
    Raises:
        WeightSyncFailed: naming one tensor that differs.
    """
    for name in sorted(new.keys() | old.keys()):
        if name not in new:
            raise WeightSyncFailed(f"the new weights lack {name}")
        if name not in old:
            raise WeightSyncFailed(f"the new weights have {name}, which the model has not")
        if new[name] != old[name]:
            raise WeightSyncFailed(f"{name} has the shape {new[name]} in the new weights, not {old[name]}")
