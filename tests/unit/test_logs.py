"""The only place of stories about one log line: its bytes, its bounds, and where it goes."""

from __future__ import annotations

import io
import json
import sys
import threading
from decimal import Decimal

import pytest
from freezegun import freeze_time

from quantum_ops import logs

NOW = "2026-01-27T06:15:30.000123"


def lines(sink: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in sink.getvalue().splitlines()]


@freeze_time(NOW)
def test_a_line_is_these_bytes_for_ever(log_lines):
    # given what people's scripts read: order, blanks, escapes and the moment's form
    logs.get(stream="s").warning("dead_letter", entry_id="1-0", raw=b"\xff", price=Decimal("1.10"))
    assert log_lines.getvalue() == (
        '{"stream": "s", "entry_id": "1-0", "raw": "\\\\xff", "price": "Decimal(\'1.10\')", '
        '"event": "dead_letter", "program": "test", "level": "warning", '
        '"at": "2026-01-27T06:15:30.000123Z"}\n'
    )


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_only_what_is_at_the_level_or_above_is_written(level):
    sink = io.StringIO()
    logs.configure("p33", level, sink)
    log = logs.get()
    for write in (log.debug, log.info, log.warning, log.error, log.exception):
        write("x")
    told = [str(line["level"]) for line in lines(sink)]
    ranks = ["debug", "info", "warning", "error", "error"]
    assert told == ranks[ranks.index(level) :]


def test_an_exception_brings_its_traceback_and_its_cause_in_one_line(log_lines):
    try:
        try:
            {}["first"]
        except KeyError as cause:
            raise ValueError("second") from cause
    except ValueError as error:
        logs.get().exception("round_failed")
        kept = error
    logs.get().warning("told_later", exc_info=kept)
    logs.get().warning("nothing_is_wrong", exc_info=False)
    logs.get().exception("nothing_was_raised")
    first, later, *without = lines(log_lines)
    assert first["exception"] == later["exception"]
    assert "KeyError: 'first'" in str(first["exception"])
    assert str(first["exception"]).endswith("\nValueError: second")
    assert "exc_info" not in first
    assert all("exception" not in line for line in without)


def test_a_line_of_another_thread_says_whose_it_is_and_none_runs_into_another(log_lines):
    # given threads that write at once (the status page, the exporter)
    def work(number: int) -> None:
        for _ in range(50):
            logs.get(thread=number).info("x" * 200)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    told = lines(log_lines)
    assert len(told) == 200
    assert {line["program"] for line in told} == {"test"}


def test_who_was_never_configured_tells_beside_its_answer(monkeypatch, capsys):
    # given a verb, whose answer is its stdout
    monkeypatch.setattr(logs._Sink, "stream", None)
    logs.get().warning("redis_away")
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["event"]) == ("", "redis_away")
    # and a program, whose log is its stdout
    logs.configure("p33", stream=sys.stdout)
    logs.get().info("started")
    assert json.loads(capsys.readouterr().out)["program"] == "p33"
