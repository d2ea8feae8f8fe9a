"""The only place that reads the exchange's credentials, and the only one that signs with them."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from dataclasses import dataclass, field

from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import PositionsSettings

MAX_BYTES = 4096
_CREDENTIAL = re.compile(r"[!-~]{1,256}")
"""Printable ASCII without blanks: anything else could not travel in a header as it stands."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key and its secret; neither stands in ``repr``, so that no log line can show it."""

    key: str = field(repr=False)
    secret: str = field(repr=False)

    def sign(self, query: str) -> str:
        """``query`` with its HMAC-SHA256 signature appended, as the exchange wants it."""
        digest = hmac.new(self.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        return f"{query}&signature={digest}"


def load(settings: PositionsSettings) -> Credentials | None:
    """The credentials that the settings mean; None if there are none at all.

    Raises :class:`ConfigurationError` for one without the other, for one that is given twice, and
    for a file that cannot be read or that others can read. No line repeats a value.
    """
    problems: list[str] = []
    key = _one("BINANCE_API_KEY", settings.api_key, settings.api_key_file, problems)
    secret = _one("BINANCE_API_SECRET", settings.api_secret, settings.api_secret_file, problems)
    if not problems and bool(key) != bool(secret):
        there, missing = ("KEY", "SECRET") if key else ("SECRET", "KEY")
        problems.append(
            f"BINANCE_API_{missing}: is missing while BINANCE_API_{there} is set; set "
            f"BINANCE_API_{missing} or BINANCE_API_{missing}_FILE, or take both out to switch "
            "positions off"
        )
    if problems:
        raise ConfigurationError(*problems)
    return Credentials(key, secret) if key else None


def _one(name: str, value: str, path: str, problems: list[str]) -> str:
    place = name
    if path:
        place = f"{name}_FILE={path!r}"
        if value:
            problems.append(f"{name} and {name}_FILE are both set; keep one of them")
            return ""
        try:
            value = _read(path)
        except OSError as error:
            problems.append(f"{place}: cannot be read ({error.strerror}); check path and owner")
            return ""
        except ValueError as error:
            problems.append(f"{place}: {error}")
            return ""
    elif not value:
        return ""
    if not _CREDENTIAL.fullmatch(value):
        problems.append(
            f"{place}: does not hold one line of printable ASCII without blanks, at most 256 "
            "characters; write the credential and nothing else"
        )
        return ""
    return value


def _read(path: str) -> str:
    # Not blocking, or a named pipe would hold the program up for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError("is no regular file; name the file that holds the credential")
        if mode & stat.S_IRWXO:
            raise ValueError(f"others may use it (mode {mode & 0o777:04o}); type: chmod o= {path}")
        # Bytes that are no ASCII become characters that no credential may hold.
        return file.read(MAX_BYTES).decode("ascii", "replace").strip()
