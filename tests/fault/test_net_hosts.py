"""A host whose cable is pulled, in a network of its own: what is sent to it vanishes."""

from __future__ import annotations

import os

import pytest

from tests import net_hosts

FULL = os.environ.get("QUANTUM_FAULTS") == "full"
pytestmark = [pytest.mark.whole, pytest.mark.timeout(1800 if FULL else 120)]


def test_nothing_acknowledged_is_lost_with_a_host_whose_cable_is_pulled():
    # Given three hosts in network namespaces, where these can be made
    reason = net_hosts.refusal()
    if reason:
        pytest.skip(f"no network namespaces here: {reason}")
    for _ in range(20 if FULL else 1):
        # When the master's host, with its sentinel, is cut off while somebody publishes
        made = net_hosts.played()
        # Then what was acknowledged stands on the new master, and publishing went on
        assert made["lost"] == 0, made
        assert made["acked"] > 100, made
