"""The only place that says whether something grows. Pure.

A line is fitted to the samples after the warm-up (least squares); what it rises from its beginning
to its end is the growth. Single peaks weigh little in it, a leak shows whole.
"""

from __future__ import annotations

from collections.abc import Sequence

WARM_UP = 0.25
"""Share of the run that is cut off: imports, first batches, caches that fill once."""
ALLOWED = 0.03
ALLOWED_BYTES = 1.5 * 1024 * 1024
"""What may be growth by chance: three hundredths, or this much if that is more."""


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """What the fitted line rises from the end of the warm-up to the end of ``(second, value)``.

    Raises ``ValueError`` for less than ten samples after the warm-up: they would say nothing.
    """
    begin = samples[0][0] + WARM_UP * (samples[-1][0] - samples[0][0]) if samples else 0.0
    kept = [one for one in samples if one[0] >= begin]
    if len(kept) < 10:
        raise ValueError(f"{len(kept)} samples after the warm-up; ten are the least")
    middle_x = sum(x for x, _ in kept) / len(kept)
    middle_y = sum(y for _, y in kept) / len(kept)
    spread = sum((x - middle_x) ** 2 for x, _ in kept)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in kept) / spread
    return slope * (kept[-1][0] - kept[0][0])


def grows(samples: Sequence[tuple[float, float]]) -> bool:
    """Whether it grew more than chance explains."""
    values = sorted(value for _, value in samples)
    return growth(samples) > max(ALLOWED_BYTES, ALLOWED * values[len(values) // 2])
