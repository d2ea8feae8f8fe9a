"""The only place where log lines are shaped: one JSON object a line on stdout."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
MAX_TEXT = 4000
"""Characters kept of one value: a hostile entry must not fill the log disk."""


def configure(program: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send log lines of ``program`` at ``level`` and above to ``stream`` (default stdout)."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            _bounded,
            structlog.processors.JSONRenderer(sort_keys=False, default=_as_text),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=stream or sys.stdout),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(program=program)


def get(**fields: Any) -> Any:
    """A logger whose lines carry ``fields``."""
    return structlog.get_logger(**fields)


def _bounded(_logger: Any, _method: str, line: Any) -> Any:
    for key, value in line.items():
        if isinstance(value, (str, bytes)) and len(value) > MAX_TEXT:
            text = value if isinstance(value, str) else _as_text(value)
            line[key] = text[:MAX_TEXT] + f"... ({len(value)} in all)"
    return line


def _as_text(value: Any) -> str:
    # JSON escapes control characters in text by itself; bytes arrive here.
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else repr(value)
