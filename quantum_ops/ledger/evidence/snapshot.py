"""The only place that makes the Redis part of an entry: what redis-cli would show, bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quantum_ops.ledger import emitter, redaction, secret_names
from quantum_ops.ledger.evidence import commands, server
from quantum_ops.ledger.evidence.commands import Command, CommandError
from quantum_ops.ledger.evidence.finding import Finding, one_line
from quantum_ops.ledger.evidence.jobs import Deadline
from quantum_ops.ledger.evidence.resp import BrokenError, Connection, ReplyError

LINES = 30
VALUE_BYTES = 1000
_MARKS = frozenset('#"(.')
NIL, EMPTY = "(nil)", "(empty)"


def look(
    asked: Sequence[str], root: Path, environ: Mapping[str, str], deadline: Deadline
) -> Finding:
    """``redis_snapshot``: each command and its reply, a line for each value.

    An error reply, or none, is a problem and no data. Values of fields that are called like
    secrets are taken out; keys that are called so are not asked for.
    """
    finding = Finding()
    shown: list[str] = []
    wanted = []
    for text in asked:
        try:
            wanted.append(commands.parse(text))
        except CommandError as error:
            # What may not be asked is not repeated: AUTH has a password behind it.
            finding.problems.append(f"redis {_first_word(text)}: {error}")
    try:
        session = _Session(server.find(root, environ), deadline)
    except ValueError as error:
        return Finding(problems=[*finding.problems, f"redis: {one_line(error)}"])
    for command in wanted:
        try:
            reply = session.ask(command)
        except (ReplyError, BrokenError) as error:
            finding.problems.append(f"redis {one_line(command.shown, 100)}: {one_line(error)}")
            if session.connection is None and isinstance(error, ReplyError):
                break  # it does not let us in
        else:
            shown += [f"# redis-cli {command.shown}", *_lines(command, reply)]
    session.close()
    if shown:
        finding.fields["redis_snapshot"] = "\n".join([*shown, ""])
    return finding


def _first_word(text: str) -> str:
    first, _, rest = one_line(text, 100).strip().partition(" ")
    return f"{first[:40]} ..." if rest or len(first) > 40 else first  # noqa: PLR2004 - a name's length


class _Session:
    """One connection for all commands, made anew after one that broke."""

    def __init__(self, where: server.Server, deadline: Deadline) -> None:
        self._where, self._deadline = where, deadline
        self.connection: Connection | None = None

    def ask(self, command: Command) -> Any:
        if self.connection is None:
            self.connection = self._where.connect(self._deadline)
        try:
            return self.connection.call(command.arguments)
        except BrokenError:
            self.close()
            raise

    def close(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None


def _lines(command: Command, reply: Any) -> list[str]:
    if command.name == "INFO" and isinstance(reply, bytes):
        # A text of its own, one fact to a line; its headings would look like commands of ours.
        rows = [row.strip() for row in reply.split(b"\n")]
        found = [one for row in rows if row and row[:1] != b"#" for one in _text(row)]
    else:
        found = list(_flat(_without_secrets(command, reply)))
    more = [f"... {len(found) - LINES} more"] if len(found) > LINES else []
    return found[:LINES] + more


def _flat(reply: Any) -> Iterator[str]:
    if isinstance(reply, list):
        if not reply:
            yield EMPTY
        for one in reply:
            yield from _flat(one)
    elif reply is None:
        yield NIL
    elif isinstance(reply, (bytes, bytearray)):
        yield from _text(bytes(reply))
    else:
        yield str(reply)


def _text(value: bytes) -> Iterator[str]:
    """A value on one line: as it is, or quoted if it could be taken for something else."""
    cut = value[:VALUE_BYTES]
    more = f"... {len(value)} bytes" if len(value) > VALUE_BYTES else ""
    try:
        text = cut.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    plain = not emitter.UNSEEN.search(text) and text.strip() == text and text[:1] not in _MARKS
    yield (text if text and plain else commands.quoted(cut)) + more


def _without_secrets(command: Command, reply: Any) -> Any:
    """``reply`` without the values of fields that are called like secrets."""
    if not isinstance(reply, list):
        return reply
    if command.name == "HSCAN" and len(reply) > 1:
        return [reply[0], _pairs(reply[1])]
    if command.name == "HGETALL":
        return _pairs(reply)
    if command.name in {"XRANGE", "XREVRANGE"}:
        return [
            [one[0], _pairs(one[1])] if isinstance(one, list) and len(one) > 1 else one
            for one in reply
        ]
    if command.name == "XINFO STREAM":
        return [_without_secrets_of_entry(one) for one in reply]
    return reply


def _without_secrets_of_entry(value: Any) -> Any:
    """The first and the last entry are shown by XINFO STREAM, too."""
    is_entry = isinstance(value, list) and len(value) > 1 and isinstance(value[1], list)
    return [value[0], _pairs(value[1])] if is_entry else value


def _pairs(flat: Any) -> Any:
    if not isinstance(flat, list):
        return flat
    found = list(flat)
    for at in range(1, len(found), 2):
        name = found[at - 1]
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else ""
        if secret_names.names_secret(text):
            found[at] = redaction.MARK.encode()
    return found
