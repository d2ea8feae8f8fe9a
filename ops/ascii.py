"""The only place that writes untrusted bytes as plain ASCII, just as ops/lib/text.lua does."""

from __future__ import annotations

import json


def quoted(value: bytes | str, limit: int) -> str:
    r"""The first ``limit`` bytes as a JSON string; a byte that is no UTF-8 becomes ``\xNN``."""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return json.dumps(raw[:limit].decode("utf-8", "backslashreplace"))


def shown(value: bytes | str, limit: int) -> str:
    """The same for a line of text: without its quotes, with a plain ``"`` inside."""
    return quoted(value, limit)[1:-1].replace('\\"', '"')
