"""The reader for executors, against a live key: one use, no exception for any state of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
import redis
from freezegun import freeze_time

from quantum_ops import client, codec, streams
from quantum_ops.errors import DecodeError
from quantum_ops.permits import new_key, trusted, verify
from quantum_ops.settings import RedisSettings
from tests.p33_rig import P33Rig, hold, publish_universe, send
from tests.p33_stories import plan
from tests.proxy import Proxy

KEY = streams.permit("p33", plan().plan_id)


@pytest.fixture
def signing(server, tmp_path):
    """A P3.3 that signs, and the keys that its executors trust."""
    path = tmp_path / "permit.pem"
    new_key(path)
    db = server.connect()
    publish_universe(db, "BTCUSDT")
    hold(db, "1")
    return P33Rig(server, signing_key=str(path)), trusted([f"{path}.pub"])


def test_permit_is_believed_once(signing):
    rig, keys = signing
    rig.decide(plan())
    looked = verify(rig.db, plan(), trusted=keys, consume=False)
    assert (looked.allow, looked.reason) == (True, "ok")
    first = verify(rig.db, plan(), trusted=keys)
    assert (first.allow, str(first.permit.safe_qty)) == (True, "1.000")
    again = verify(rig.db, plan(), trusted=keys)
    assert (again.allow, again.reason, again.permit) == (False, "missing", None)


def test_plan_may_be_given_as_the_fields_of_its_entry(signing):
    rig, keys = signing
    rig.decide(plan())
    [(_, fields)] = rig.db.xrange(streams.APPLY_PLAN.key)
    assert verify(rig.db, fields, trusted=keys, consume=False).allow
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    assert verify(rig.db, texts, trusted=keys, consume=False).allow
    with pytest.raises(DecodeError, match="decision"):
        verify(rig.db, {"plan_id": "x"}, trusted=keys)
    with pytest.raises(DecodeError, match="plan_id"):
        verify(rig.db, {**texts, "plan_id": "\ud800"}, trusted=keys)


def test_denial_is_not_consumed(signing):
    rig, keys = signing
    rig.decide(plan(symbol="GONEUSDT"))
    for _ in range(2):
        verdict = verify(rig.db, plan(symbol="GONEUSDT"), trusted=keys)
        assert (verdict.allow, verdict.reason) == (False, "denied")
        assert verdict.permit.reason == "symbol_not_allowed"


def test_of_eight_executors_exactly_one_goes_on(signing, server):
    rig, keys = signing
    for number in range(20):
        one = plan(plan_id=f"{number:016x}")
        rig.decide(one)
        verdicts: list[str] = []
        gate = threading.Barrier(8)
        clients = [server.connect() for _ in range(8)]

        def execute(db, one=one, verdicts=verdicts, gate=gate):
            gate.wait()
            verdicts.append(verify(db, one, trusted=keys).reason)

        threads = [threading.Thread(target=execute, args=(db,)) for db in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert verdicts.count("ok") == 1
        assert set(verdicts) <= {"ok", "missing", "used"}


def test_permit_exchanged_between_look_and_consumption_is_not_used(signing):
    rig, keys = signing
    rig.decide(plan())

    class Racing:
        def get(self, key):
            found = rig.db.get(key)
            rig.decide(plan(qty="2"))  # the id is contradicted just now
            return found

        def getdel(self, key):
            return rig.db.getdel(key)

    verdict = verify(Racing(), plan(), trusted=keys)
    assert (verdict.allow, verdict.reason) == (False, "used")


def test_forged_permits_of_today_are_no_permits(signing):
    rig, keys = signing
    # What intent_bridge writes (notes: flaw G1), and what anybody can
    rig.db.hset(KEY, mapping={"allow": "true", "safe_qty": "0"})
    assert verify(rig.db, plan(), trusted=keys).reason == "malformed"
    rig.db.delete(KEY)
    rig.db.set(KEY, '{"allow": true, "symbol": "BTCUSDT", "safe_qty": 1}')
    assert verify(rig.db, plan(), trusted=keys).reason == "malformed"


def test_permit_of_ten_megabytes_is_none(signing):
    rig, keys = signing
    rig.decide(plan())
    rig.db.append(KEY, b" " * 10_000_000)
    assert verify(rig.db, plan(), trusted=keys).reason == "malformed"


@pytest.mark.parametrize("denied", ["get", "getdel"])
def test_server_that_refuses_us_is_told_as_that_and_not_as_a_wrong_permit(signing, denied):
    rig, keys = signing
    rig.decide(plan())
    rig.db.execute_command(
        "ACL", "SETUSER", "executor", "on", "nopass", "~*", "+@all", f"-{denied}"
    )
    user = rig.server.connect()
    try:
        user.execute_command("AUTH", "executor", "x")
        with pytest.raises(redis.exceptions.NoPermissionError):
            verify(user, plan(), trusted=keys)
    finally:
        user.close()
        user.connection_pool.disconnect()
        rig.db.execute_command("ACL", "DELUSER", "executor")
    # And the permit still stands for whoever may read it.
    assert verify(rig.db, plan(), trusted=keys).allow


def test_lost_reply_to_the_consumption_is_an_error_and_never_two_executions(signing):
    rig, keys = signing
    rig.decide(plan())
    replies = iter(["", "drop"])  # GET is answered, GETDEL is not
    proxy = Proxy(rig.server.socket, lambda: next(replies, ""))
    try:
        executor = client.connect(RedisSettings(url=proxy.url, timeout_s=5))
        with pytest.raises(redis.ConnectionError):
            verify(executor, plan(), trusted=keys)
        assert verify(executor, plan(), trusted=keys).reason == "missing"
    finally:
        proxy.close()


def test_key_that_became_a_hash_before_it_was_consumed_is_not_used(signing):
    rig, keys = signing
    rig.decide(plan())

    class Racing:
        def get(self, key):
            found = rig.db.get(key)
            rig.db.delete(key)
            rig.db.hset(key, mapping={"allow": "true"})
            return found

        def getdel(self, key):
            return rig.db.getdel(key)

    assert verify(Racing(), plan(), trusted=keys).reason == "used"


def test_permit_of_another_plan_put_under_this_key_is_refused(signing):
    rig, keys = signing
    rig.decide(plan(plan_id="a" * 16))
    rig.db.rename(streams.permit("p33", "a" * 16), KEY)
    assert verify(rig.db, plan(), trusted=keys).reason == "other_plan"


def test_executors_own_clock_decides_whether_it_is_over(signing):
    rig, keys = signing
    rig.decide(plan())
    created = rig.permit()["created_at"]
    # A server whose clock was set back keeps the key for an hour (notes/reliab.md, 14)
    rig.db.persist(KEY)
    with freeze_time() as frozen:
        for jump_s, reason in ((-86_400, "not_yet_valid"), (59.9, "ok"), (60, "expired")):
            frozen.move_to(datetime.fromtimestamp(created + jump_s, UTC))
            # No now_s is given: it is the process's own clock that counts.
            assert verify(rig.db, plan(), trusted=keys, consume=False).reason == reason


def test_process_that_signs_does_not_complain(signing, log_lines):
    assert "permits_unsigned" not in log_lines.getvalue()


def test_signing_survives_a_plan_with_every_field(signing):
    rig, keys = signing
    full = plan(type_="MARKET", price="1", leverage="5", steps='[{"step":"order"}]', stop_loss="1")
    send(rig.db, full)
    rig.settle()
    assert verify(rig.db, codec.decoder(type(full))(codec.encode(full)), trusted=keys).allow
