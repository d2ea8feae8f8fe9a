"""The status page on a real server: what it shows, whom it answers, what it survives."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys

import pytest
from redis.exceptions import NoPermissionError

from ops.status_page import following, readers, serving, stream, web
from ops.status_page.collector import Collector
from ops.status_page.following import Decisions, NotYetError, Standing
from quantum_ops import client, streams
from quantum_ops.settings import RedisSettings
from tests.ledger_story import Ledger
from tests.page_rig import HOSTILE, ROOT, Program, Site, World, get, verdict_of
from tests.servers import Server
from tests.supervised import free_port
from tests.waiting import wait_until


def wait(predicate, what=""):
    """Long enough for a machine that is busy with everything else."""
    return wait_until(predicate, 30, what)


@pytest.fixture(scope="module")
def one():
    """A server of this file's own: it is killed, and comes back."""
    server = Server("valkey")
    yield server
    server.close()


@pytest.fixture
def world(one):
    return World(one).in_order()


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def picture(db, environ=None):
    return Collector(readers.all_of(db, environ or {"LEDGER_DIR": "/nonexistent"}), 2.0).look()


def test_a_system_in_order_is_ok_and_each_trouble_is_told_and_goes(one, world, ledger):
    # given a page on a system that is in order
    ledger.one("first")
    with Site(world.db, ledger.folder.base) as site:
        wait(lambda: verdict_of(site.port) == ["OK"], "OK")
        html = get(site.port, "/")[2]
        assert "sanity_<wbr>checks_<wbr>passed" in html
        assert 'href="/ledger/1"' in html
        # when something is buried and a violation is told, the worst comes first
        letter, finding = world.bury(), world.violate()
        wait(lambda: len(verdict_of(site.port)) == 3, "both are told")
        word, first, second = verdict_of(site.port)
        assert word == "VIOLATION"
        assert "executed_without_permits" in first
        assert second == "1 in the dead letter"
        assert "VIOLATED" in get(site.port, "/")[2]
        # then, settled, they go
        world.settle(streams.DEAD_LETTER_RESOLVED, letter)
        world.settle(streams.FINDINGS_SETTLED, finding)
        wait(lambda: verdict_of(site.port) == ["OK"], "OK again")
        # and a consumer that stands still is named with what waits for it
        world.db.xadd(streams.APPLY_PLAN.key, {"plan_id": "1"}, id="1000-1")
        wait(lambda: "p33 on apply.plan is more than 30 s behind" in verdict_of(site.port))
        assert verdict_of(site.port)[0] == "attention"


def test_every_part_is_seen_on_every_server_at_hand(server):
    world = World(server).in_order()
    world.violate()
    world.bury()
    seen = picture(world.db)
    parts = {name: getattr(seen, name) for name in readers.all_of(world.db)}
    assert {name: part.problem for name, part in parts.items() if part.problem} == {}
    assert {one.exactness for one in seen.groups.value.lags} == {"exact"}
    assert seen.letters.value.by_group == {(streams.APPLY_PLAN.key, "p33"): 1}
    assert [one.state for one in seen.audit.value] == ["VIOLATED", "PROVEN", "PROVEN"]


def test_redis_gone_is_said_at_once_and_it_comes_back_by_itself(one, world):
    with Program(one.url, free_port()) as page:
        # given a page, and a violation that it has seen
        world.violate()
        wait(lambda: verdict_of(page.port)[0] == "VIOLATION")
        # when the server is killed: the page answers quickly, and what was open still is
        one.kill()
        try:
            wait(lambda: any("Redis does not answer" in r for r in verdict_of(page.port)))
            status, _, html = get(page.port, "/")
            assert status == 200
            assert "<strong>unknown: </strong>Redis: " in html
            assert verdict_of(page.port)[:2] == ["VIOLATION", "permits: 1 open when last seen"]
        finally:
            one.start()

        # then it is back, as another server that has lost everything
        def is_back():
            told = verdict_of(page.port)
            return any("the universe is missing" in r for r in told) and "VIOLATION" not in told

        wait(is_back, "it sees the new server")
        # and a server that hangs is said to hang, while the page itself does not
        one.process.send_signal(signal.SIGSTOP)
        try:
            wait(lambda: any("Timeout" in r for r in verdict_of(page.port)))
        finally:
            one.process.send_signal(signal.SIGCONT)
        code, _ = page.end()
        assert code == 0


def test_no_route_changes_anything_and_every_answer_is_guarded(one, world, ledger):
    ledger.one("first")
    routes = {route.path for route in web.app(web.Site(lambda: None, lambda: None, 1.0)).routes}
    assert routes == {
        "/", "/verdict", "/events", "/ledger/{seq}", "/ledger/{seq}/proof", "/static/{name}"
    }  # fmt: skip
    with Site(world.db, ledger.folder.base) as site:
        paths = [path.format(seq=1, name="page.js") for path in routes] + [
            "/nowhere",
            "//x",
            "/%00",
        ]
        for path in paths:
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
                status, headers, _ = get(site.port, path, method)
                assert (status, headers["allow"]) == (405, "GET, HEAD"), (path, method)
        for path in [*paths, "/static/page.css", "/static/..%2fweb.py", "/ledger/9", "/ledger/x"]:
            if path == "/events":
                continue
            status, headers, body = get(site.port, path)
            assert status in (200, 404), path
            assert "def " not in body
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            # A page elsewhere whose name points here (DNS rebinding) gets nothing
            assert get(site.port, path, Host="evil.example")[0] == 421
            assert get(site.port, path, "HEAD")[2] == ""
        assert get(site.port, "/events", "HEAD")[0] == 200
        # Nothing is inline: the policy would forbid it
        html = get(site.port, "/")[2]
        assert " style=" not in html
        assert "<script>" not in html
        assert get(site.port, "/events", Host="evil.example")[0] == 421


def _acl_of_the_docs() -> list[str]:
    """The rules of the user that docs/status-page.md advises, with the password p."""
    page = (ROOT / "docs" / "status-page.md").read_text(encoding="utf-8")
    line = next(row for row in page.splitlines() if row.startswith("redis-cli ACL SETUSER page "))
    return ["resetkeys", *(word.replace(">PASSWORD", ">p") for word in shlex.split(line)[4:])]


def test_it_only_reads(one, world):
    # given a user that may do nothing but read
    world.db.execute_command(
"ACL", "SETUSER", "page", *_acl_of_the_docs()
    )  # fmt: skip
    try:
        db = client.connect(RedisSettings(url=one.url.replace("unix://", "unix://page:p@")))
        with pytest.raises(NoPermissionError):
            db.set("x", 1)
        seen = picture(db)
        # then nothing that it needs is refused
        problems = {n: getattr(seen, n).problem for n in ("server", *readers.all_of(db))}
        assert not any(problems.values()), problems
    finally:
        world.db.execute_command("ACL", "DELUSER", "page")
    # and a user that may not even do that is told so, part by part
    world.db.execute_command("ACL", "SETUSER", "none", "on", ">p", "~*", "-@all", "+info", "+auth")
    try:
        seen = picture(client.connect(RedisSettings(url=one.url.replace("//", "//none:p@"))))
        assert "refuses us" in seen.universe.problem
        assert seen.audit.value is None
    finally:
        world.db.execute_command("ACL", "DELUSER", "none")


def events(port: int) -> socket.socket:
    """An open event stream whose headers were read."""
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    line.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return line


def test_readers_of_the_stream_are_few_and_the_slow_ones_hurt_nobody(one, world, ledger):
    with Site(world.db, ledger.folder.base) as site:
        # given as many readers as are served, none of which reads
        lines = [events(site.port) for _ in range(stream.MOST)]
        try:
            for line in lines:
                assert line.recv(15) == b"HTTP/1.1 200 OK"
            # then one more is refused and told when to come again, and the page is there
            status, headers, _ = get(site.port, "/events")
            assert (status, headers["retry-after"]) == (503, "10")
            world.bury()
            wait(lambda: verdict_of(site.port)[0] == "attention", "the page goes on")
            # and who reads late gets what is now
            told = b""
            while b"1 in the dead letter" not in told:
                told += lines[0].recv(65536)
        finally:
            for line in lines:
                line.close()
        # and who has left makes room
        wait(lambda: _is_served(site.port), "there is room again")


def test_connections_that_ask_for_nothing_are_few_and_do_not_stay(one, world, ledger, monkeypatch):
    with Site(world.db, ledger.folder.base) as site:
        # given as many open lines as the page takes, all of them silent: it says that it is full
        address = ("127.0.0.1", site.port)
        lines = [socket.create_connection(address) for _ in range(serving.MOST_CONNECTIONS)]
        try:
            wait(lambda: get(site.port, "/verdict")[0] == 503, "it is full")
        finally:
            for line in lines:
                line.close()
        wait(lambda: get(site.port, "/verdict")[0] == 200, "there is room again")
        # and who goes on asking for nothing is shown out
        monkeypatch.setattr(serving, "ASK_S", 0.1)
        with socket.create_connection(address, timeout=30) as line:
            assert line.recv(1) == b""


def _is_served(port: int) -> bool:
    with events(port) as line:
        return line.recv(15) == b"HTTP/1.1 200 OK"


def test_a_message_holds_only_what_changed_and_a_stop_ends_streams_at_once(one, world):
    with Program(one.url, free_port()) as page:
        wait(lambda: "not looked at yet" not in get(page.port, "/")[2], "a look")
        _listen_and_stop(page)


def _listen_and_stop(page):
    with events(page.port) as line, line.makefile("rb") as lines:
        messages = (json.loads(row[6:]) for row in lines if row.startswith(b"data: {"))
        assert {"verdict", "universe", "groups", "ledger"} <= set(next(messages))
        assert "ledger" not in next(messages)
        # when the program is asked to stop while somebody listens
        page.process.terminate()
        assert page.process.wait(30) == 0
        list(lines)  # the stream ends; it does not hang


def test_a_taken_port_is_refused_with_the_cure(one):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = Program(one.url, port).end_of_refusal()
        assert code == 78
        assert f"QUANTUM_STATUS_PAGE_PORT={port}: port {port} on 127.0.0.1 is taken" in said
        assert "QUANTUM_STATUS_PAGE_PORT=0 for no status page" in said
        # ./run says so before it starts anything
        done = subprocess.run(
            [sys.executable, "-m", "ops", "start"], cwd=ROOT, capture_output=True, text=True,
            check=False, timeout=60,
            env={
                "PATH": os.environ["PATH"], "QUANTUM_ENV_DIR": "/nonexistent",
                "QUANTUM_HOME": str(one.folder / "home"), "REDIS_PORT": str(free_port()),
                "QUANTUM_STATUS_PAGE_PORT": str(port),
            },
        )  # fmt: skip
        assert done.returncode == 1
        assert f"port {port} on 127.0.0.1 is taken" in done.stderr
        assert not (one.folder / "home" / "run" / "current.env").exists()


def test_an_entry_is_shown_and_its_proof_convinces_the_verb(one, world, ledger, tmp_path):
    ledger.one("a <b>bold</b> deploy", notes="line one\nline \x1b[31mtwo\u202e")
    ledger.one("second")
    with Site(world.db, ledger.folder.base) as site:
        status, _, html = get(site.port, "/ledger/1")
        assert status == 200
        assert "a &lt;b&gt;bold&lt;/b&gt; deploy" in html
        assert not set("\x1b\u202e") & set(html)
        status, headers, proof = get(site.port, "/ledger/1/proof")
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert get(site.port, "/ledger/3")[0] == 404
        assert get(site.port, "/ledger/3/proof")[0] == 404
        # A journal that is damaged is told as such, here and in the timeline
        segment = next(ledger.folder.journal.iterdir())
        whole = segment.read_bytes()
        segment.write_bytes(whole.replace(b"bold", b"cold"))
        status, _, told = get(site.port, "/ledger/1/proof")
        assert status == 503
        assert "./run ledger verify" in told
        segment.write_bytes(b"no journal\n")
        wait(lambda: any("ledger unknown" in r for r in verdict_of(site.port)))
        assert get(site.port, "/ledger/1")[0] == 503
        segment.write_bytes(whole)
    file = tmp_path / "record-1.proof"
    file.write_text(proof)
    done = subprocess.run(
        [sys.executable, "-m", "ops", "ledger", "verify", str(file)], cwd=ROOT,
        capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": os.environ["PATH"], "QUANTUM_ENV_DIR": "/nonexistent",
             "LEDGER_DIR": str(ledger.folder.base)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PROVEN: record 1" in done.stdout


def test_strangers_bytes_spoil_nothing(one, world):
    # given entries and keys that no program of ours wrote
    for key in (streams.AUDIT_FINDING, streams.DEAD_LETTER, streams.PERMIT_DECIDED,
                streams.UNIVERSE_CHANGED):  # fmt: skip
        world.db.xadd(key.key, {b"\xff\x00": b"\xff" * 100, "reason": HOSTILE})
    world.db.xgroup_create(streams.APPLY_PLAN.key, HOSTILE, id="0")
    world.db.hset(streams.heartbeat("p33", 0), mapping={"state": HOSTILE, "updated_ms": b"\xff"})
    world.violate(subject=HOSTILE, detail=HOSTILE)
    seen = picture(world.db)
    # then every part is seen, and the one violation of ours with them
    assert not any(
        getattr(seen, name).problem for name in ("universe", "groups", "letters", "gates", "audit")
    )
    assert [len(v.violations) for v in seen.audit.value if v.name == "permits"] == [1]
    assert seen.letters.value.count == 0
    # and a key of the wrong type makes its own part unknown, and no other
    world.db.delete(streams.AUDIT_FINDING.key)
    world.db.set(streams.AUDIT_FINDING.key, "no stream")
    seen = picture(world.db)
    assert "WRONGTYPE" in seen.audit.problem
    assert not seen.gates.problem


def test_open_ones_are_followed_through_settling_deleting_and_a_new_stream(world, monkeypatch):
    monkeypatch.setattr(following, "PAGE", 2)
    monkeypatch.setattr(following, "PAGES", 2)
    monkeypatch.setattr(following, "MOST", 3)
    standing = Standing(
        world.db, streams.AUDIT_FINDING, streams.FINDINGS_SETTLED, readers._violation
    )
    # given more than is read in one look: nothing is claimed before all was read
    ids = [world.violate(subject=str(number)).encode() for number in range(5)]
    with pytest.raises(NotYetError):
        standing.look()
    found, more = standing.look()
    assert (list(found), more) == (ids[:3], True)
    # when some are settled, those that had found no room are read again
    for id_ in ids[:2]:
        world.settle(streams.FINDINGS_SETTLED, id_.decode())
    with pytest.raises(NotYetError):
        standing.look()
    with pytest.raises(NotYetError):
        standing.look()
    assert (list(standing.look()[0]), standing.look()[1]) == (ids[2:], False)
    # when one is deleted, it is gone
    world.db.xdel(streams.AUDIT_FINDING.key, ids[2])
    assert list(standing.look()[0]) == ids[3:]
    # when the stream begins anew with lower ids, what it holds is read
    world.db.delete(streams.AUDIT_FINDING.key)
    assert standing.look()[0] == {}


def test_decisions_are_those_of_the_last_hour(world):
    decisions = Decisions(world.db)
    world.decide("cooldown_in_flight", count=3)
    counts = {(one.reason, one.allow): one.count for one in decisions.look()}
    assert counts == {("cooldown_in_flight", False): 3, ("sanity_checks_passed", True): 1}
    # nothing is counted twice, and what is older than an hour goes
    world.decide("cooldown_in_flight")
    assert {one.reason: one.count for one in decisions.look()}["cooldown_in_flight"] == 4
    minute, minutes = following.WINDOW_MIN, decisions._minutes
    decisions._minutes = type(minutes)((at - minute, counted) for at, counted in minutes)
    assert decisions.look() == ()
