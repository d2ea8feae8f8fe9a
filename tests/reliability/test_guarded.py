"""Whether a server that drops what its default user may not write would be seen to lose it."""

from __future__ import annotations

import pytest

from tests.reliability import guarded, run
from tests.reliability.farm import Farm


@pytest.mark.needs_redis7
def test_a_default_user_without_rights_is_seen_to_lose_what_was_acknowledged(monkeypatch):
    # Given redis 7.0 with the users of ./run, but for a default user that may nothing
    as_shipped = guarded.users("redis7")
    without = as_shipped.replace("default off resetpass ~* &* +@all", "default off resetpass")
    assert without != as_shipped
    monkeypatch.setattr(guarded, "users", lambda _flavour: without)
    # When it is killed as the suite does it; a restart with nothing on the way costs nothing
    farm = Farm()
    try:
        rounds = (run.one("server_kills", "redis7", 6, seed, farm).broken for seed in range(5))
        broken = next(filter(None, rounds), [])
    finally:
        farm.close()
    # Then events are missing
    assert broken
    assert "lost" in broken[0]
