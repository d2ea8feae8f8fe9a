"""What the soak judges by: a leak shows, noise and a warm-up do not."""

from __future__ import annotations

from random import Random

import pytest

from tests.soak import steady

MIB = 1024 * 1024


def memory(leak_bytes_s: float, *, seconds: int = 600, seed: int = 1) -> list[tuple[float, float]]:
    """A process of 45 MiB that warms up for a minute, wobbles, and leaks."""
    random = Random(seed)
    return [
        (
            second,
            45 * MIB - max(0, 60 - second) * 0.2 * MIB
            + random.uniform(0, 1.0) * MIB + leak_bytes_s * second,
        )
        for second in range(0, seconds, 5)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_process_that_wobbles_does_not_grow(seed):
    assert not steady.grows(memory(0, seed=seed))


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_shows(seed):
    # Given 8 kB a second: less than 5 MiB in ten minutes, 225 MiB in eight hours
    assert steady.grows(memory(8 * 1024, seed=seed))


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="ten are the least"):
        steady.growth([(float(second), 1.0) for second in range(9)])
