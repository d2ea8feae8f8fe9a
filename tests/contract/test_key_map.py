"""Every atomic unit touches keys of one group: the slot linter over all Lua and all MULTI.

A unit that is new has to be named here with its keys, or the first two tests go red.
"""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from quantum_ops import key_map, streams
from quantum_ops.key_map import CrossSlotError
from quantum_ops.scripts import Script
from tests.contract.test_rules import SOURCES, shown

PACKAGES = ("quantum_ops", "producers", "consumers", "ops")
LETTERS, FINDING = streams.DEAD_LETTER.key, streams.AUDIT_FINDING.key
PLAN, RESULT = streams.APPLY_PLAN.key, streams.APPLY_RESULT.key
UNIVERSE = [streams.UNIVERSE_META, streams.UNIVERSE_ACTIVE, streams.UNIVERSE_SYMBOLS]
EFFECTS = {
    "p33": (streams.APPLY_PLAN, [
        streams.decided("p33", "1"), streams.conflict("p33", "1", "f"), streams.permit("p33", "1"),
        streams.unreplicated(streams.permit("p33", "1")), streams.PERMIT_DECIDED.key,
    ]),
    "permit_audit": (streams.APPLY_PLAN, [streams.audited_case("1"), streams.PERMIT_AUDIT_OPEN]),
    "order_proof": (streams.APPLY_RESULT, [
        streams.planned("1"), streams.proof_of_order("S", "1"), streams.proof_of_plan("1"),
        streams.proofs_of_symbol("S"), streams.proof_told("f", "1"),
    ]),
    "position_ledger": (streams.APPLY_RESULT, []),
    "universe_audit": (streams.UNIVERSE_CHANGED, [
        streams.UNIVERSE_AUDITED, streams.UNIVERSE_AUDIT_CHECKS,
    ]),
    "ledger": (streams.DEPLOY_COMPLETED, [
        streams.ledger_warned("1-0", "r"), streams.LEDGER_RECORDED.key,
    ]),
    "archive": (streams.OPS_PROCESS, []),
}  # fmt: skip
"""Consumer -> a stream of its, and the keys of effects that it declares besides Findings."""


def each(stream: streams.Stream) -> list[str]:
    return [stream.key]


def finish(name: str) -> list[str]:
    stream, effects = EFFECTS[name]
    return [stream.key, LETTERS, streams.checkpoint(stream.key, name), FINDING, *effects]


def published(stream: streams.Stream) -> list[str]:
    return [stream.key, streams.idempotency(stream.key, "a:b/c 1")]


PER_STREAM = {
    "quantum_ops.scripts.CHECKPOINT": lambda s: [s.key, streams.checkpoint(s.key, "g")],
    "quantum_ops.scripts.CREATE_GROUP": lambda s: [
        s.key, streams.checkpoint(s.key, "g"), FINDING,
    ],
    "quantum_ops.scripts.CLAIM": lambda s: [s.key, LETTERS],
    "quantum_ops.scripts.DROP_CONSUMER": each,
    "quantum_ops.scripts.PUBLISH": published,
    "quantum_ops.dead_letter.RESOLVE": lambda s: [
        LETTERS, streams.DEAD_LETTER_RESOLVED, FINDING, s.key,
    ],
    "quantum_ops.lease.RENEW": each,
    "quantum_ops.lag_reading.LOOK": each,
    "quantum_ops.history.trim.LIMIT": lambda s: [s.key, streams.ARCHIVE_TRIMMED],
    "quantum_ops.history.trim.CUT": lambda s: [s.key, streams.ARCHIVE_TRIMMED],
    "quantum_ops.history.scan.LOOK": lambda s: [s.key, streams.ARCHIVE_TRIMMED],
    "quantum_ops.replay.redeliver.SET_BACK": lambda s: [s.key, FINDING],
    "ops.status_page.following.HELD": each,
}  # fmt: skip
"""Scripts that are called for one stream at a time, any of the catalogue."""
UNITS = {
    "quantum_ops.scripts.RULE": [[streams.audited_case("1"), streams.PERMIT_AUDIT_OPEN, FINDING]],
    "quantum_ops.scripts.TELL": [
        [streams.UNIVERSE_AUDIT_CHECKS, FINDING], [streams.UNIVERSE_AUDIT_CHURN, FINDING],
        [streams.UNIVERSE_AUDIT_READERS, FINDING],
    ],
    "quantum_ops.scripts.SETTLE": [[FINDING, streams.FINDINGS_SETTLED]],
    "quantum_ops.scripts.PUBLISH_COUNTED": [
        [*published(streams.OPS_PROCESS), streams.WARDEN_RESTARTS],
        [*published(streams.OPS_PROCESS), streams.WARDEN_HEALS],
    ],
    "quantum_ops.signoff.telling.TELL": [[streams.LEDGER_RECORDED.key, streams.LEDGER_TOLD]],
    "quantum_ops.unreplicated.LET_OUT": [
        [streams.unreplicated(streams.permit("p33", "1")), streams.permit("p33", "1")],
    ],
    "quantum_ops.unreplicated.WITHDRAW": [
        [streams.unreplicated(streams.permit("p33", "1")), streams.permit("p33", "1"),
         streams.PERMIT_DECIDED.key],
    ],
    "quantum_ops.scripts.FINISH": [finish(name) for name in EFFECTS],
    "producers.universe_store._COMMIT": [[
        streams.UNIVERSE_LEASE, *UNIVERSE, streams.UNIVERSE_LAST_OK, streams.UNIVERSE_HELD,
        streams.UNIVERSE_ACCEPT, streams.UNIVERSE_CHANGED.key, FINDING,
    ]],
    "producers.universe_store._BOOTSTRAP": [
        [*UNIVERSE, streams.UNIVERSE_LAST_OK, streams.UNIVERSE_LEASE, FINDING],
    ],
    "producers.lease.ACQUIRE": [
        [streams.UNIVERSE_LEASE, streams.UNIVERSE_FENCE],
        [streams.POSITIONS_LEASE, streams.POSITIONS_FENCE],
    ],
    "producers.lease.RELEASE": [[streams.UNIVERSE_LEASE], [streams.POSITIONS_LEASE]],
    "consumers.position_ledger.NOTE": [[streams.position_ledger("S")]],
}  # fmt: skip
"""Script -> the keys of its calls."""
ACROSS = {
    "quantum_ops.recovery.refill.COMMIT": "a restore swaps all streams at once: not on a cluster",
}
TRANSACTIONS = {
    "quantum_ops/universe.py": UNIVERSE,
    "quantum_ops/universe_cache.py": UNIVERSE,
    "quantum_ops/heartbeat.py": [streams.heartbeat("p33", "a.0"), streams.heartbeat_hosts("p33")],
    "quantum_ops/replay/seeding.py": None,  # a scratch server's, never a cluster's
    "producers/position_store.py": [
        streams.POSITIONS_LEASE, streams.POSITIONS_HEDGED, streams.position("S"), FINDING,
    ],
    "producers/universe_store.py": [
        *UNIVERSE, streams.UNIVERSE_HELD, streams.UNIVERSE_ACCEPT,
    ],
    "producers/universe_check.py": UNIVERSE,
    "consumers/permit_audit.py": [streams.PERMIT_AUDIT_LOOKED],
    "consumers/universe_audit.py": [
        *UNIVERSE, streams.UNIVERSE_AUDITED, streams.UNIVERSE_AUDIT_CHECKS,
    ],
    "ops/verbs/permit.py": [streams.permit("p33", "1")],
    "ops/test_p33_universe_integration.py": UNIVERSE,
    "ops/demo/trading.py": [
        RESULT, streams.position_ledger("S"), streams.cooldown("S"), streams.position("S"),
    ],
}  # fmt: skip
"""File -> the keys of its MULTI."""


def scripts() -> dict[str, Script]:
    """Every script of the project by module and name."""
    found = {}
    for package in PACKAGES:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            if info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                if isinstance(value, Script):
                    found.setdefault(value.sha, f"{info.name}.{name}")
    return {name: sha for sha, name in found.items()}


def lint(keys: list[str]) -> None:
    """What a cluster would say of a unit: one slot, or an error."""
    group = key_map.unit(keys) or key_map.OPS
    slots = {key_slot(key_map.mapped(key, group).encode()) for key in keys}
    assert len(slots) == 1


def test_every_script_is_linted():
    found = {name.rpartition(".")[2] for name in scripts()}
    named = {name.rpartition(".")[2] for name in (*PER_STREAM, *UNITS, *ACROSS)}
    assert found == named
    assert len(scripts()) == len(PER_STREAM) + len(UNITS) + len(ACROSS)


def test_every_transaction_is_linted():
    found = {
        shown(path)
        for path in SOURCES
        if re.search(r"pipeline\((transaction=True)?\)|\.multi\(\)", path.read_text())
    }
    assert found == set(TRANSACTIONS)


@pytest.mark.parametrize("name", PER_STREAM)
def test_scripts_of_one_stream_lie_in_one_slot_whichever_it_is(name):
    for stream in streams.CATALOGUE:
        lint(PER_STREAM[name](stream))


@pytest.mark.parametrize("name", UNITS)
def test_scripts_lie_in_one_slot(name):
    for keys in UNITS[name]:
        lint(keys)


@pytest.mark.parametrize("name", [name for name, keys in TRANSACTIONS.items() if keys])
def test_transactions_lie_in_one_slot(name):
    lint(TRANSACTIONS[name])


def test_a_planted_unit_across_groups_goes_red():
    with pytest.raises(CrossSlotError, match=r"apply\.plan in \{plan\}.*meta in \{universe\}"):
        lint([PLAN, LETTERS, streams.UNIVERSE_META])
    with pytest.raises(CrossSlotError):
        key_map.mapped(PLAN, key_map.DEPLOY)


def test_scripts_name_no_key_themselves():
    # One that touched a key it does not declare would work until slots move.
    for module in SOURCES:
        for script in re.findall(
            r'Script\(\s*(?:\w+\s*\+\s*)*"""(.*?)"""', module.read_text(), re.DOTALL
        ):
            assert "quantum:" not in script, shown(module)


def test_every_key_of_the_catalogue_has_a_place():
    for stream in streams.CATALOGUE:
        assert key_map.group_of(stream.key) in ("", *key_map.GROUPS)
    for name, key in vars(streams).items():
        # Beginnings and patterns of keys are none.
        if name.isupper() and isinstance(key, str) and not key.endswith((":", "*")):
            assert key_map.group_of(key) in ("", *key_map.GROUPS)
    with pytest.raises(KeyError, match="key_map"):
        key_map.group_of("foreign:key")


def test_groups_lie_in_different_slots_and_names_come_back():
    assert len({key_slot(f"{{{group}}}".encode()) for group in key_map.GROUPS}) == 4
    assert key_map.mapped(PLAN, "plan") == "{plan}:quantum:stream:apply.plan"
    assert key_map.plain(key_map.mapped(PLAN, "plan")) == key_map.plain(PLAN) == PLAN


@given(st.text(max_size=40), st.sampled_from(streams.CATALOGUE))
def test_whatever_stands_in_an_id_a_key_follows_its_stream(text, stream):
    assert key_map.group_of(streams.idempotency(stream.key, text)) == key_map.group_of(stream.key)
    key = streams.permit("p33", text)
    assert key_map.group_of(streams.unreplicated(key)) == "plan"
    # Whatever braces it has: the first pair, which is ours, decides
    assert key_slot(key_map.mapped(key, "plan").encode("utf-8", "surrogatepass")) == key_slot(
        b"{plan}"
    )


def test_commands_whose_keys_are_not_known_are_refused():
    with pytest.raises(ValueError, match="DEL"):
        key_map.command(("DEL", PLAN), "plan")
    read = ("XREADGROUP", "GROUP", "g", "me", "COUNT", 1, "STREAMS", PLAN, RESULT, ">", ">")
    assert key_map.command(read, "plan")[7:] == (f"{{plan}}:{PLAN}", f"{{plan}}:{RESULT}", ">", ">")
