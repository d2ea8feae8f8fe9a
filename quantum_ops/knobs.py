"""The only place that turns settings, from environment and ``*.env`` files, into typed values.

A section is a frozen dataclass whose fields are made by :func:`knob`. :func:`load` reads each
field from the process environment first, then from the ``*.env`` files of ``QUANTUM_ENV_DIR``
(default ``/etc/quantum``), then takes its default. Nothing is read at import.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from quantum_ops import env_files
from quantum_ops.errors import ConfigurationError

T = TypeVar("T")
Parser = Callable[[str], Any]


def knob(name: str, parse: Parser, default: Any, doc: str, *, secret: bool = False) -> Any:
    """A dataclass field fed by the environment variable ``name``.

    ``default`` is the parsed value used when nothing is set; ``doc`` is one sentence with the
    unit and the reason, and stands in docs/settings.md word for word. A ``secret`` is left out of
    ``repr`` so that no log line can show it.
    """
    meta = {"env": name, "parse": parse, "doc": doc, "secret": secret}
    return dataclasses.field(default=default, metadata=meta, repr=not secret)


def whole(low: int, high: int, unit: str = "") -> Parser:
    """Parser of whole numbers from ``low`` to ``high``."""
    return _number(int, low, high, unit, "a whole number")


def decimal(low: float, high: float, unit: str = "") -> Parser:
    """Parser of finite decimal numbers from ``low`` to ``high``."""
    return _number(float, low, high, unit, "a number")


def exact(low: int, high: int, unit: str = "") -> Parser:
    """Parser of finite decimal numbers from ``low`` to ``high``, kept digit by digit."""
    return _number(Decimal, low, high, unit, "a number")


def words(shape: re.Pattern[str], what: str) -> Parser:
    """Parser of words parted by commas or blanks, each of which must match ``shape``."""

    def parse(text: str) -> tuple[str, ...]:
        found = [word for word in re.split(r"[,\s]+", text) if word]
        for word in found:
            if not shape.fullmatch(word):
                raise ValueError(f"{word!r} is not {what} ({shape.pattern})")
        return tuple(dict.fromkeys(found))

    return parse


def one_of(*choices: str) -> Parser:
    """Parser that takes exactly one of ``choices``."""

    def parse(text: str) -> str:
        if text in choices:
            return text
        import difflib  # noqa: PLC0415 - 140 kB that only the unlucky need

        near = difflib.get_close_matches(text.lower(), choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"write one of {', '.join(choices)}{hint}")

    return parse


def text(text_: str) -> str:
    """Parser that takes any text."""
    return text_


def flag(text_: str) -> bool:
    """Parser of true/false (also 1/0, yes/no, on/off)."""
    word = text_.lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError("write true or false")


def regex(text_: str) -> re.Pattern[str]:
    """Parser of a regular expression."""
    try:
        return re.compile(text_)
    except re.error as error:
        raise ValueError(f"write a regular expression ({error})") from None


def load(section: type[T], environ: Mapping[str, str] | None = None) -> T:
    """The section with every field parsed.

    Raises :class:`ConfigurationError` with one line for each unusable value, all of them at once,
    so that an operator fixes the file in one go.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    files = env_files.read(environ, problems)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(section):  # type: ignore[arg-type]  # T is a dataclass by contract
        name = field.metadata["env"]
        secret = field.metadata["secret"]
        found = _find(name, environ, files, problems, secret=secret)
        if found is None or found.text == "":
            continue
        try:
            values[field.name] = field.metadata["parse"](found.text)
        except ValueError as error:
            shown = "(secret)" if secret else repr(found.text)
            problems.append(f"{name}={shown} ({found.place}): {error}")
    if problems:
        raise ConfigurationError(*problems)
    return section(**values)


def _number(kind: type, low: float, high: float, unit: str, what: str) -> Parser:
    unit = f" {unit}" if unit else ""

    def parse(text_: str) -> Any:
        try:
            value = kind(text_)
            finite = math.isfinite(value)
        except (ValueError, ArithmeticError):
            raise ValueError(f"not {what}; write {low} to {high}{unit}") from None
        # NaN compares false with everything (and a Decimal one raises).
        if not finite or not low <= value <= high:
            raise ValueError(f"out of range; write {low} to {high}{unit}")
        return value

    return parse


def _find(
    name: str,
    environ: Mapping[str, str],
    files: dict[str, list[env_files.Found]],
    problems: list[str],
    *,
    secret: bool,
) -> env_files.Found | None:
    if environ.get(name):
        return env_files.Found(environ[name].strip(), "environment")
    found = files.get(name, [])
    # Two files that disagree would make the answer depend on the alphabet: ask the operator.
    if len({item.text for item in found}) > 1:
        places = " and ".join(
            f"{'(secret)' if secret else repr(item.text)} in {item.place}" for item in found
        )
        problems.append(f"{name}: {places} disagree; keep one of them")
        return None
    return found[-1] if found else None
