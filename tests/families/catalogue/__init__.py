"""The families, by maker or by the kind of their markers."""

from tests.families.catalogue import channels, deepseek, dense, own_tags, qwen, tags, tekken
from tests.families.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (qwen, deepseek, tekken, channels, tags, own_tags, dense)
    for family in module.FAMILIES
}
