"""What a deploy checks on real servers and real pages: what passes, and what does not."""

from __future__ import annotations

import http.server
import os
import threading

import pytest

from ops.deploy import checks
from ops.deploy.order import Order
from quantum_ops import client, entry_id, lag_reading, streams
from quantum_ops.events import AuditFinding, DeadLetter
from quantum_ops.publisher import Publisher
from quantum_ops.settings import RedisSettings

PLAN = {"plan_id": "0" * 16, "decision": "SKIP"}


@pytest.fixture
def pages():
    """Pages of metrics; ``/moved`` is a redirect to one that would pass."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answers = {"/metrics": 200, "/moved": 302}
            self.send_response(answers.get(self.path, 404))
            if self.path == "/moved":
                self.send_header("Location", "/metrics")
            body = b"# HELP p27_corr_ready help only\np27_corr_ready 1.0\n"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def metrics(*urls: str, grep: tuple[str, ...] = ()) -> list[bool]:
    order = Order(program="p33", metrics_urls=urls, metrics_grep=grep)
    return [check.passed for check in checks.metrics(order, os.environ)]


def test_a_page_that_answers_with_what_is_searched_passes(pages):
    assert metrics(f"{pages}/metrics") == [True]
    assert metrics(f"{pages}/metrics", grep=("p27_corr_ready 1", r"^p27_\w+ 1\.0$")) == [True] * 3


def test_anything_else_does_not(pages):
    assert metrics(f"{pages}/none") == [False]
    assert metrics(f"{pages}/moved") == [False]
    assert metrics("http://127.0.0.1:1/metrics") == [False]
    # a pattern that only a comment matches
    assert metrics(f"{pages}/metrics", grep=("help only",)) == [True, False]
    # each pattern must match
    assert metrics(f"{pages}/metrics", grep=("p27_corr_ready", "p27_clusters")) == [
        True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "passed"),
    [
        ("HGETALL there", True),
        ('HGET there "a field"', True),
        ("XLEN nowhere", False),
        ("HGETALL nowhere", False),
        ("GET there", False),  # an error reply
        ("SET was:here 1", False),
        ("CONFIG GET requirepass", False),
        ("EVAL 'return 1' 0", False),
        ("BLPOP there 0", False),
        ("HGETALL 'there", False),
        ("", False),
    ],
)
def test_a_command_must_read_and_find_something(db, command, passed):
    db.hset("there", "a field", "value")
    order = Order(program="p33", redis_cmds=(command,), skipped=frozenset(("lag",)))
    found = list(checks.run(db, order, checks.marks(db), [], os.environ))
    assert found[0].passed is passed, found[0]
    assert db.get("was:here") is None


def test_a_key_that_is_none_of_ours_is_a_failed_check_and_no_end_of_the_deploy(server, db):
    db.execute_command("ACL", "SETUSER", "less", "on", ">pw", "~quantum:*", "+@all")
    less = client.connect(RedisSettings(url=f"{server.url}?username=less&password=pw"))
    order = Order(program="p33", redis_cmds=("GET not:ours",), skipped=frozenset(("lag",)))
    try:
        found = list(checks.run(less, order, checks.marks(less), [], os.environ))
    finally:
        less.connection_pool.disconnect()
        db.execute_command("ACL", "DELUSER", "less")
    assert not found[0].passed
    assert "refused: " in found[0].lines[0]


def by_name(db, marks, backlog=(), **order) -> dict[str, checks.Check]:
    asked = Order(program="p33", wait_s=0.3, **order)
    return {check.name: check for check in checks.run(db, asked, marks, backlog, os.environ)}


def test_only_what_came_since_the_restart_counts(db):
    # given letters and Findings from before
    publisher = Publisher(db)

    def letter(group: str) -> None:
        publisher.publish(
            DeadLetter(stream="s", group=group, consumer="c", entry_id="1-1", deliveries=1,
                       reason="failed", error="\x1b[2Jboom")
        )  # fmt: skip

    def finding(severity: str) -> None:
        publisher.publish(AuditFinding(auditor="a", finding="f", severity=severity))

    letter("p33")
    finding("critical")
    marks = checks.marks(db)
    assert all(check.passed for check in by_name(db, marks).values())
    # when others bury something, and an auditor warns
    letter("ledger")
    finding("warning")
    assert all(check.passed for check in by_name(db, marks).values())
    # when it buries something itself, and something critical is found
    letter("p33")
    finding("critical")
    found = by_name(db, marks)
    # then both are named, as text that does nothing to a terminal
    assert not found["dead_letters"].passed
    assert not found["findings"].passed
    assert "\x1b" not in str(found["dead_letters"].lines)
    # and what was skipped is said to be
    assert by_name(db, marks, skipped=frozenset(("findings",)))["findings"].lines == (
        "skipped, as asked",
    )


def test_the_backlog_is_counted_whatever_was_cut_or_deleted(db):
    key = streams.APPLY_PLAN.key
    ids = [db.xadd(key, PLAN) for _ in range(10)]
    db.xgroup_create(key, "p33", id="0")
    db.xgroup_create(key, "other", id="0")
    [(_, taken)] = db.xreadgroup("p33", "me", {key: ">"}, count=4)
    db.xack(key, "p33", *(id_ for id_, _ in taken[:2]))
    db.xdel(key, ids[6])
    db.xtrim(key, maxlen=8, approximate=False)
    [found] = lag_reading.of_group(db, "p33")
    assert (found.entries, found.pending) == (5, 2)
    assert found.newest == entry_id.parse(ids[-1])
    assert found.first == entry_id.parse(ids[2])
    assert lag_reading.of_group(db, "nobody") == []


def test_a_consumer_that_does_nothing_is_found_out(db):
    key = streams.APPLY_PLAN.key
    db.xgroup_create(key, "p33", id="0", mkstream=True)
    db.xadd(key, PLAN)
    marks, at_ready = checks.marks(db), lag_reading.of_group(db, "p33")
    assert not by_name(db, marks, at_ready)["lag"].passed
    # when it takes the entry, and never acknowledges it
    db.xreadgroup("p33", "me", {key: ">"})
    assert not by_name(db, marks, at_ready)["lag"].passed
    # when its group vanishes
    db.xgroup_destroy(key, "p33")
    assert not by_name(db, marks, at_ready)["lag"].passed
    # and if the backlog could not be read, that is no pass either
    assert not by_name(db, marks, None)["lag"].passed


def test_a_server_that_went_away_passes_nothing(server):
    db = server.connect()
    marks = checks.marks(db)
    server.kill()
    try:
        found = by_name(db, marks, [], redis_cmds=("PING",))
        assert not any(check.passed for name, check in found.items() if name != "lag")
    finally:
        server.start()
