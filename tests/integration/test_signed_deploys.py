"""Signed deploy events: whose they are, in which order they came, and what nobody signed."""

from __future__ import annotations

import argparse

import pytest
from msgspec.structs import replace

from consumers import ledger as consumer
from ops import signing
from ops.deploy import telling
from ops.deploy.order import Order
from ops.verbs import publish
from quantum_ops import codec
from quantum_ops.errors import ConfigurationError
from quantum_ops.events import DeployCompleted
from quantum_ops.ledger import ed25519
from quantum_ops.permits import new_key
from quantum_ops.settings import LedgerSettings
from quantum_ops.signoff import signed
from quantum_ops.streams import DEPLOY_COMPLETED
from tests.signoff_rig import DEPLOY, SignoffRig


@pytest.fixture
def keys(tmp_path):
    """The private keys of two producers in one folder, the public ones in another."""
    (tmp_path / "trusted").mkdir()
    for name in ("ci", "ops"):
        new_key(tmp_path / f"{name}.pem")
        (tmp_path / f"{name}.pem.pub").rename(tmp_path / "trusted" / f"{name}.pub")
    return tmp_path


@pytest.fixture
def rig(server, keys):
    return SignoffRig(server, keys / "ledger", producers=str(keys / "trusted"))


def deploy(**fields) -> DeployCompleted:
    return DeployCompleted(**{**DEPLOY, **fields})


def send(rig, event: DeployCompleted) -> str:
    flat = codec.encode(event)
    return rig.db.execute_command("XADD", DEPLOY_COMPLETED.key, "*", *flat).decode()


def of_ci(keys, number: int, **fields) -> DeployCompleted:
    return signed.sign(deploy(**fields), keys / "ci.pem", "ci", number)


def whose(rig) -> list[str | None]:
    return [one.get("signed_by") for one in rig.operations()]


def test_a_signed_deploy_is_recorded_with_its_number_and_an_unsigned_one_is_marked(rig, keys):
    send(rig, of_ci(keys, 1))
    rig.send(operation="by hand")
    rig.settle()
    assert whose(rig) == ["ci/1", "unsigned"]
    assert rig.found() == []
    rig.holds()


def test_the_same_signed_event_again_is_already_recorded(rig, keys):
    event = of_ci(keys, 1)
    send(rig, event)
    rig.settle()
    send(rig, event)
    rig.settle()
    assert whose(rig) == ["ci/1"]
    assert rig.found() == []
    assert rig.letters() == []


@pytest.mark.parametrize(
    "forge",
    [
        lambda event: replace(event, changes_summary="something else"),
        lambda event: replace(event, signature=None),
        lambda event: replace(event, seq=2),
        lambda event: replace(event, seq=2, event_id="ci/2"),
        lambda event: replace(event, producer=None),
        lambda event: replace(event, producer="ops"),
        lambda event: replace(event, producer="ops", event_id="ops/1"),
        lambda event: replace(event, producer="nobody"),  # under an id of ci's
        lambda event: replace(event, signature=event.signature[:-3] + "B=="),
        lambda event: replace(event, strict=True),
    ],
)
def test_a_forgery_is_told_and_buried_with_its_reason_and_never_recorded(rig, keys, forge):
    entry_id = send(rig, forge(of_ci(keys, 1)))
    # the true one, afterwards, is recorded under its number
    send(rig, of_ci(keys, 1))
    rig.settle()
    assert whose(rig) == ["ci/1"]
    [letter] = rig.letters()
    assert letter.entry_id == entry_id
    assert "it claims to be of the producer" in letter.error
    [finding] = rig.findings()
    assert (finding.finding, finding.severity) == ("ledger_forged", "critical")
    assert finding.evidence == (entry_id,)


def test_a_number_that_was_left_out_is_told_once(rig, keys):
    for number in (1, 2, 5, 6):
        send(rig, of_ci(keys, number, operation=f"deploy {number}"))
    rig.settle()
    assert whose(rig) == ["ci/1", "ci/2", "ci/5", "ci/6"]
    [gap] = rig.findings()
    assert gap.finding == "ledger_gap"
    assert "ci/4 was never recorded" in gap.detail
    # Out of order within what is read at once is no gap
    for number in (8, 7):
        send(rig, of_ci(keys, number, operation=f"deploy {number}"))
    rig.settle()
    assert rig.found() == ["ledger_gap"]


def test_two_events_under_one_number_are_both_kept_and_told(rig, keys):
    send(rig, of_ci(keys, 1))
    send(rig, of_ci(keys, 1, changes_summary="and another thing"))
    rig.settle()
    assert whose(rig) == ["ci/1", "ci/1"]
    assert rig.found() == ["ledger_source_reused"]


def test_the_sequence_outlives_a_process_that_died_after_it_recorded(rig, keys, monkeypatch):
    # given a process that is gone between the record and its acknowledgement
    class Killed(BaseException):
        pass

    real = consumer.book.record_many

    def then_dies(*given, **more):
        real(*given, **more)
        raise Killed

    send(rig, of_ci(keys, 1))
    send(rig, of_ci(keys, 3, operation="the one after the one that was lost"))
    runner = rig.opened("one")
    monkeypatch.setattr(consumer.book, "record_many", then_dies)
    with pytest.raises(Killed):
        rig.backend.settle(runner)
    rig.leave(runner)
    monkeypatch.setattr(consumer.book, "record_many", real)
    # when another takes over, its cache gone with the disk it lay on
    rig.settle("one")
    send(rig, of_ci(keys, 4, operation="next"))
    rig.settle("one")
    # then nothing is doubled, and the gap is told of once: the journal knows all numbers
    assert whose(rig) == ["ci/1", "ci/3", "ci/4"]
    assert rig.found() == ["ledger_gap"]
    rig.holds()


def test_where_only_signed_deploys_count_others_are_buried_with_the_cure(server, keys):
    rig = SignoffRig(server, keys / "ledger", producers=str(keys / "trusted"), require_signed=True)
    rig.send()
    new_key(keys / "stranger.pem")
    send(rig, signed.sign(deploy(), keys / "stranger.pem", "stranger", 1))
    send(rig, of_ci(keys, 1))
    rig.settle()
    assert whose(rig) == ["ci/1"]
    first, second = (one.error for one in rig.letters())
    assert "it has none, and only signed deploys are recorded" in first
    assert "./run publish deploy --key FILE" in first
    assert "the producer 'stranger' is not trusted" in second
    # Nobody claimed to be somebody else: that is no forgery
    assert rig.found() == []


def test_keys_and_folders_that_are_none_are_told_before_anything_is_read(keys):
    (keys / "trusted" / "bad.pub").write_text("no key")
    with pytest.raises(ConfigurationError, match=r"LEDGER_PRODUCERS=.*bad\.pub"):
        signed.Trusted.find(str(keys / "trusted"), required=False)
    with pytest.raises(ConfigurationError, match="No such file"):
        signed.Trusted.find("/not/there", required=False)
    with pytest.raises(ConfigurationError, match="nothing could ever be recorded"):
        signed.Trusted.find("", required=True)


# Who signs


def published(*argv: str) -> DeployCompleted:
    parser = argparse.ArgumentParser()
    publish.configure(parser)
    words = [word for name, value in DEPLOY.items() for word in (f"--{name}", value)]
    [event] = publish._events(DEPLOY_COMPLETED, parser.parse_args(["deploy", *words, *argv]))
    return event


def test_publish_deploy_numbers_and_signs_what_it_sends(rig, keys):
    key = str(keys / "ci.pem")
    first, second = published("--key", key), published("--key", key)
    assert [first.event_id, second.event_id] == ["ci/1", "ci/2"]
    send(rig, first)
    send(rig, second)
    # The same number again, where a script is not sure whether it was sent
    send(rig, published("--key", key, "--seq", "2"))
    rig.settle()
    assert whose(rig) == ["ci/1", "ci/2"]
    assert (rig.letters(), rig.found()) == ([], [])


def test_a_key_that_cannot_sign_uses_no_number_up(keys):
    (keys / "ci.pem").chmod(0o644)
    with pytest.raises(ValueError, match="others may read it"):
        published("--key", str(keys / "ci.pem"))
    with pytest.raises(ValueError, match="No such file"):
        published("--key", str(keys / "none.pem"))
    with pytest.raises(ValueError, match="add --key FILE"):
        published("--seq", "3")
    with pytest.raises(ValueError, match="numbers begin with 1"):
        published("--key", str(keys / "ci.pem"), "--seq", "0")
    (keys / "ci.pem").chmod(0o600)
    assert published("--key", str(keys / "ci.pem")).seq == 1
    (keys / "ci.pem.seq").write_text("many")
    with pytest.raises(ValueError, match="holds no number"):
        published("--key", str(keys / "ci.pem"))


def test_run_deploy_signs_what_it_tells(keys, monkeypatch):
    monkeypatch.setenv("DEPLOY_SIGNING_KEY", str(keys / "ops.pem"))
    monkeypatch.setenv("QUANTUM_ENV_DIR", str(keys / "none"))
    signing.check()
    message = telling.deployed(
        Order(program="p33"), "SUCCESS", commit="a" * 40, before="", subjects=[], paths=[],
        proof_path="/p",
    )  # fmt: skip
    trusted = signed.Trusted.find(str(keys / "trusted"), required=True)
    # Signed when it is sent: what it rolls back is known only then
    for rolled_back in ("", "OPS-2026-01-27-001"):
        event = telling.event_of(message, rolled_back)
        assert trusted.judge(event) == "ops/1"
        assert event.rollback_of == rolled_back
    # A key that went away in between keeps nothing from being told
    monkeypatch.setenv("DEPLOY_SIGNING_KEY", str(keys / "gone.pem"))
    with pytest.raises(ValueError, match="No such file"):
        signing.check()
    message = telling.deployed(
        Order(program="p33"), "SUCCESS", commit="a" * 40, before="", subjects=[], paths=[],
        proof_path="/p",
    )  # fmt: skip
    assert "not signed: " in telling.event_of(message).notes


def test_a_signature_is_over_the_meaning_and_a_newer_field_does_not_break_it(keys):
    event = of_ci(keys, 1, allowed_services=("a", "b"))
    trusted = signed.Trusted.find(str(keys / "trusted"), required=False)
    flat = codec.encode(event)
    at = flat.index(b"allowed_services")
    # A list one item a line, and a name that nobody knows, mean the same
    flat[at + 1] = b"a\nb"
    again = codec.decoder(DeployCompleted)([*flat, b"unknown", b"x"])
    assert trusted.judge(again) == "ci/1"
    assert LedgerSettings().producers == ""
    assert ed25519.SIGNATURE_BYTES == 64
