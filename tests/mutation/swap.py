"""The only place that puts a mutant into a process that has everything loaded already.

The mutated module is executed in a name space of its own; then the code of its functions and the
values of its constants replace those of the real one, wherever they are known.
"""

from __future__ import annotations

import ast
import sys
import types
from typing import Any

SIMPLE = (int, float, str, bytes, tuple, frozenset, bool)


def swap(name: str, tree: ast.Module) -> None:
    """Make module ``name`` behave as ``tree``. Raises whatever executing it raises."""
    real = sys.modules[name]
    made = types.ModuleType(name)
    made.__dict__.update(__file__=real.__file__, __package__=real.__package__)
    # Dataclasses look their module up while they are made.
    sys.modules[name] = made
    try:
        exec(compile(tree, real.__file__ or name, "exec"), made.__dict__)
    finally:
        sys.modules[name] = real
    for key, new in list(vars(made).items()):
        if key.startswith("__"):
            continue
        old = vars(real).get(key)
        if isinstance(new, type) and isinstance(old, type):
            if new.__module__ == name:
                _class(old, new)
        elif not _function(old, new) and _differs(old, new):
            _everywhere(key, old, new)


def _class(old: type, new: type) -> None:
    for key, value in list(vars(new).items()):
        known = vars(old).get(key)
        if key.startswith("__") and not isinstance(value, types.FunctionType):
            continue
        if isinstance(value, type) and isinstance(known, type):
            _class(known, value)
        elif not _function(known, value) and isinstance(value, SIMPLE) and _differs(known, value):
            setattr(old, key, value)


def _function(old: Any, new: Any) -> bool:
    """Swap what the function does; whether it was one."""
    pairs = [(_inner(old), _inner(new))]
    if isinstance(new, property):
        pairs = [(old.fget, new.fget), (old.fset, new.fset)]
    found = False
    for was, now in pairs:
        if isinstance(was, types.FunctionType) and isinstance(now, types.FunctionType):
            found = True
            if was.__code__ is not now.__code__:
                was.__code__ = now.__code__
                was.__defaults__, was.__kwdefaults__ = now.__defaults__, now.__kwdefaults__
    return found


def _inner(value: Any) -> Any:
    """What a decorator (a cache, a context manager) has wrapped: the code that somebody wrote."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value


def _differs(old: Any, new: Any) -> bool:
    if isinstance(new, types.ModuleType) or old is new:
        return False
    try:
        return bool(repr(old) != repr(new))
    except Exception:  # noqa: BLE001 - what cannot be shown cannot be compared
        return False


def _everywhere(key: str, old: Any, new: Any) -> None:
    """Put a constant wherever the old one is known by its name."""
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(key) is old:
            setattr(module, key, new)
