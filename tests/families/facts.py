"""The facts of each family: expected values for tests of recognition and rendering."""

from __future__ import annotations

from tests.families.catalogue import FAMILIES
from tests.families.family import Facts

FACTS: dict[str, Facts] = {name: family.facts for name, family in FAMILIES.items()}
