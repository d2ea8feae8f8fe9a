"""Every reader of YAML at hand, by name: ours, PyYAML (pure, in C), ruamel.yaml (1.1, 1.2)."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ruamel.yaml import YAML

from quantum_ops.ledger import reader

FULL = os.environ.get("QUANTUM_FAULTS") == "full"


def _ruamel(version: tuple[int, int]) -> Callable[[str], Any]:
    def load(text: str) -> Any:
        yaml_reader = YAML(typ="safe", pure=True)
        yaml_reader.version = version
        return yaml_reader.load(text)

    return load


READERS: dict[str, Callable[[str], Any]] = {
    "ours": reader.block,
    "PyYAML": yaml.safe_load,
    "ruamel 1.1": _ruamel((1, 1)),
    "ruamel 1.2": _ruamel((1, 2)),
}
if hasattr(yaml, "CSafeLoader"):  # no wheel of some platforms has it
    READERS["PyYAML in C"] = lambda text: yaml.load(text, Loader=yaml.CSafeLoader)


def same(found: Any, given: Any) -> bool:
    """Whether a reader found what was given: type by type, a moment by its text."""
    if isinstance(found, dt.datetime):
        return bool(given == found.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    if isinstance(given, Mapping):
        return (
            isinstance(found, Mapping)
            and list(found) == list(given)
            and all(same(found[name], given[name]) for name in given)
        )
    if isinstance(given, list):
        return isinstance(found, list) and len(found) == len(given) and all(map(same, found, given))
    return type(found) is type(given) and bool(found == given)
