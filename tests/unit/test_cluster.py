"""Who owns a slot, when the nodes of a cluster do not agree."""

from __future__ import annotations

import pytest
import redis

from quantum_ops import client
from quantum_ops.cluster import Nodes, owners

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


def line(address, flags, epoch, *slots):
    where = f"{address[0]}:{address[1]}@16379,host"
    return " ".join(["f" * 40, where, flags, "-", "0", "0", str(epoch), "connected", *slots])


BEFORE = line(OLD, "myself,master", 1, "0-100", "200", "[93->-cafe]") + "\n"
AFTER = line(OLD, "master,fail", 1) + "\n" + line(NEW, "myself,master", 4, "0-100", "200") + "\n"


def nodes(**said):
    def ask(address):
        answer = said[address[0].rpartition(".")[2]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Nodes([OLD, NEW], lambda address: ask((f"x.n{address[0][-1]}", 0)))


def test_masters_are_read_with_their_slots():
    [one] = owners(BEFORE)
    assert (one.address, one.epoch, one.slots) == (OLD, 1, ((0, 100), (200, 200)))
    # One that is taken for dead, a replica and what is no line own nothing
    [one] = owners(AFTER + line(OLD, "slave", 4) + "\nodd\n\n")
    assert one.address == NEW


def test_the_later_failover_counts_whoever_is_asked_first():
    assert nodes(n1=BEFORE, n2=AFTER).owner(93) == NEW
    assert nodes(n1=BEFORE, n2=redis.TimeoutError()).owner(200) == OLD


def test_a_slot_of_nobody_is_waited_for():
    for slot, said in ((150, AFTER), (93, "")):
        with pytest.raises(redis.exceptions.ClusterDownError) as caught:
            nodes(n1=redis.ConnectionError(), n2=said).owner(slot)
        assert client.is_passing(caught.value)


def test_a_slot_that_moved_is_waited_for():
    assert client.is_passing(redis.exceptions.MovedError("93 10.0.0.2:6379"))
    assert client.is_passing(redis.exceptions.AskError("93 10.0.0.2:6379"))
