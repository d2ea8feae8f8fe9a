"""The only place where log lines are shaped: one JSON object a line on stdout."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_TEXT = 4000
"""Characters kept of one value: a hostile entry must not fill the log disk."""


class _Sink:
    """Where the lines of this process go, and which of them.

    Who was never configured is a verb: its stdout is its answer, so it tells beside it.
    """

    program = ""
    level = _LEVELS["info"]
    stream: TextIO | None = None
    lock = threading.Lock()


def configure(program: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send log lines of ``program`` at ``level`` and above to ``stream`` (default stdout)."""
    _Sink.program, _Sink.level, _Sink.stream = program, _LEVELS[level], stream or sys.stdout


class Log:
    """Writes lines that carry ``fields``; each method takes what happened, and more fields.

    What is below the level of :func:`configure` is not written. A value is kept as JSON has it,
    bytes as text, anything else as its ``repr``. A true ``exc_info`` adds the traceback of that
    exception, or else of the one being handled.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def debug(self, event: str, **fields: Any) -> None:
        """Say what only a developer looks for."""
        self._line("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Say what went as it should."""
        self._line("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Say what did not, and was coped with."""
        self._line("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Say what somebody has to see to."""
        self._line("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """The same of the exception that is being handled, with its traceback."""
        self._line("error", event, {"exc_info": True, **fields})

    def _line(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if _LEVELS[level] < _Sink.level:
            return
        line: dict[str, Any] = {**self._fields, **fields, "event": event}
        line.setdefault("program", _Sink.program)
        line["level"] = level
        line["at"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        told = line.pop("exc_info", None)
        error = told if isinstance(told, BaseException) else told and sys.exc_info()[1]
        if error:
            line["exception"] = "".join(traceback.format_exception(error)).removesuffix("\n")
        text = json.dumps(_bounded(line), default=_as_text)
        stream = _Sink.stream or sys.stderr
        with _Sink.lock:
            stream.write(f"{text}\n")
            stream.flush()


def get(**fields: Any) -> Log:
    """A logger whose lines carry ``fields``."""
    return Log(fields)


def _bounded(line: dict[str, Any]) -> dict[str, Any]:
    for key, value in line.items():
        if isinstance(value, (str, bytes)) and len(value) > MAX_TEXT:
            text = value if isinstance(value, str) else _as_text(value)
            line[key] = text[:MAX_TEXT] + f"... ({len(value)} in all)"
    return line


def _as_text(value: Any) -> str:
    # JSON escapes control characters in text by itself; bytes arrive here.
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else repr(value)
