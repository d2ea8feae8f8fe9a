"""The only place of what the parts are made of: tables, facts, moments, good and bad words."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ops.status_page.markup import Markup, tag, text

MAX_PLAIN = 24
"""Characters that are short enough to stand in one line wherever there is little room."""


def moment(epoch_s: float) -> Markup:
    """A moment, in UTC."""
    return _time(epoch_s, "%Y-%m-%d %H:%M:%S UTC")


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str,
    wide: Sequence[int] = (),
    plain: Sequence[int] = (),
) -> Markup:
    """A table with its name.

    The columns ``wide`` are left out where there is no room for them. What is short in a column
    that is ``plain`` is never broken in two.
    """

    def cells(name: str, row: Sequence[Any], **more: str) -> Iterable[Markup]:
        for at, cell in enumerate(row):
            is_plain = (at in plain or isinstance(cell, int)) and _is_short(cell)
            words = ["wide"] * (at in wide) + ["plain"] * is_plain
            yield tag(name, cell, class_=" ".join(words) or None, **more)

    body = [tag("tr", *cells("td", row)) for row in rows]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *cells("th", heads, scope="col"))),
        tag("tbody", *body),
    )


def _is_short(cell: Any) -> bool:
    """Whether a cell holds no more than a word or two; what a stranger wrote may be longer."""
    return len(re.sub("<[^>]*>", "", text(cell))) <= MAX_PLAIN


def facts(rows: Iterable[tuple[str, Any]]) -> Markup:
    """Names and what they are."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows))


def clock(epoch_s: float) -> Markup:
    """A moment, short: the day stands in ``datetime`` for whoever wants it."""
    return _time(epoch_s, "%m-%d %H:%M:%S")


def _time(epoch_s: float, shape: str) -> Markup:
    try:
        at = time.gmtime(epoch_s)
    except (OverflowError, ValueError, OSError):
        return text(f"{epoch_s:g} s")  # an id that somebody chose, beyond every calendar
    return tag("time", time.strftime(shape, at), datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ", at))


def state(word: str, *, good: bool) -> Markup:
    """A word that is good or bad by itself, whatever its colour."""
    return tag("span", word, class_="good" if good else "bad")


def bad(words: str) -> Markup:
    """What is not as it should be."""
    return tag("strong", words, class_="bad")


def note(words: Any) -> Markup:
    """A line in small print."""
    return tag("p", words, class_="note")
