"""Every reader of YAML at hand, by name: ours always, PyYAML and ruamel.yaml where installed."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from quantum_ops.ledger import reader

FULL = os.environ.get("QUANTUM_FAULTS") == "full"
READERS: dict[str, Callable[[str], Any]] = {"ours": reader.block}

if find_spec("yaml"):
    import yaml

    READERS["PyYAML"] = yaml.safe_load
    if hasattr(yaml, "CSafeLoader"):
        READERS["PyYAML in C"] = lambda text: yaml.load(text, Loader=yaml.CSafeLoader)

if find_spec("ruamel") and find_spec("ruamel.yaml"):
    from ruamel.yaml import YAML

    def _ruamel(version: tuple[int, int]) -> Callable[[str], Any]:
        def load(text: str) -> Any:
            yaml_reader = YAML(typ="safe", pure=True)
            yaml_reader.version = version
            return yaml_reader.load(text)

        return load

    READERS["ruamel 1.1"] = _ruamel((1, 1))
    READERS["ruamel 1.2"] = _ruamel((1, 2))


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
