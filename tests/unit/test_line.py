"""One connection: what arrived is taken at once, what broke is never used again."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA

from quantum_ops.line import Line


class Wire:
    """A connection and its pool, both spied on; ``arrived`` is what hiredis has been fed."""

    def __init__(self, *arrived: bytes, later: Any = None) -> None:
        self._parser = self
        self._reader = hiredis.Reader(replyError=self._error, notEnoughData=NOT_ENOUGH_DATA)
        for piece in arrived:
            self._reader.feed(piece)
        self._later = later
        self.told: list[Any] = []
        self.breaks = False

    @staticmethod
    def _error(text: str) -> Exception:
        full = text.startswith("ERR max number of clients")
        return redis.ConnectionError(text) if full else redis.ResponseError(text)

    def get_connection(self) -> Wire:
        self.told.append("taken")
        return self

    def send_packed_command(self, pieces: list[bytes], *, check_health: bool) -> None:
        self.told.append((pieces, check_health))
        if self.breaks:
            raise redis.ConnectionError("broken pipe")

    def read_response(self) -> Any:
        self.told.append("read")
        if isinstance(self._later, Exception):
            raise self._later
        return self._later

    def disconnect(self) -> None:
        self.told.append("disconnected")

    def release(self, connection: Wire) -> None:
        assert connection is self
        self.told.append("released")


def written(wire: Wire) -> Line:
    line = Line(wire)
    line.write([("PING",), ("GET", "a")])
    return line


SENT = ([b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n"], False)
CLOSED = ["disconnected", "released"]


def test_all_commands_go_at_once_over_a_connection_that_is_kept():
    wire = Wire(b"+PONG\r\n$1\r\nb\r\n")
    line = written(wire)
    # What has arrived is taken without redis-py
    assert [line.read(), line.read()] == [b"PONG", b"b"]
    line.write([])
    assert wire.told == ["taken", SENT]


def test_what_is_not_there_yet_is_waited_for_the_plain_way():
    wire = Wire(b"+PO", later=b"PONG")
    assert written(wire).read() == b"PONG"
    assert wire.told[2:] == ["read"]
    # And so is everything where there is another parser
    wire = Wire(b"+PONG\r\n", later=b"slowly")
    wire._parser = object()
    assert written(wire).read() == b"slowly"


@pytest.mark.parametrize("arrived", [b"-NOGROUP gone\r\n", b""])
def test_an_error_of_the_server_is_a_value(arrived):
    wire = Wire(arrived, later=redis.ResponseError("NOGROUP gone"))
    reply = written(wire).read()
    assert isinstance(reply, redis.ResponseError)
    assert str(reply) == "NOGROUP gone"
    assert "disconnected" not in wire.told


@pytest.mark.parametrize("arrived", [b"-ERR max number of clients reached\r\n", b""])
def test_a_line_that_broke_while_reading_is_dropped_and_the_next_write_takes_another(arrived):
    wire = Wire(arrived, later=redis.ConnectionError("closed"))
    line = written(wire)
    with pytest.raises(redis.ConnectionError):
        line.read()
    assert wire.told[-2:] == CLOSED
    line.write([("PING",)])
    assert wire.told[-2] == "taken"


def test_a_line_that_broke_while_writing_is_dropped():
    wire = Wire()
    wire.breaks = True
    with pytest.raises(redis.ConnectionError):
        written(wire)
    assert wire.told == ["taken", SENT, *CLOSED]


def test_closing_what_is_closed_does_nothing():
    wire = Wire()
    line = written(wire)
    line.close()
    line.close()
    assert wire.told == ["taken", SENT, *CLOSED]
