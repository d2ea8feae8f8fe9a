"""The only place that reads a recorded exchangeInfo, and tells which network it came from."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from quantum_ops.errors import ConfigurationError

MAINNET_WEIGHT = 2400
"""Request weight a minute that tells the main network from the test network, which allows 6000."""


def read(path: str) -> bytes:
    """The body in the file ``path``, unpacked if its name ends in ``.gz``.

    Raises :class:`ConfigurationError` if it cannot be read or is not JSON: served all the same, it
    would only ever show a stale universe.
    """
    try:
        content = Path(path).read_bytes()
        body = gzip.decompress(content) if path.endswith(".gz") else content
        json.loads(body)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ConfigurationError(
            f"{path}: cannot be served ({error}); "
            "name a file with a recorded exchangeInfo, .json or .json.gz"
        ) from None
    return body


def mode_of(body: bytes) -> str:
    """``mainnet`` or ``testnet``: the mode under which the producer believes ``body``."""
    document = json.loads(body)
    limits = document.get("rateLimits") if isinstance(document, dict) else None
    for limit in limits if isinstance(limits, list) else []:
        if isinstance(limit, dict) and limit.get("rateLimitType") == "REQUEST_WEIGHT":
            return "mainnet" if limit.get("limit") == MAINNET_WEIGHT else "testnet"
    return "testnet"
