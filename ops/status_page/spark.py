"""The only place that draws: a line of a group's last minutes, as SVG with words for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.status_page.markup import Markup, tag, text

WIDTH, HEIGHT = 96, 20
LEAST_S = 1.0
"""Seconds behind that at least fill the height: a millisecond must not look like a mountain."""


def spark(past: Sequence[float | None], every_s: float) -> Markup:
    """The line of ``past`` (seconds behind, oldest first); what was unknown is a gap."""
    known = [value for value in past if value is not None]
    if not known:
        return Markup("")
    top = max(LEAST_S, *known)
    step = WIDTH / max(1, len(past) - 1)
    paths = [
        tag("path", d=" ".join(_points(run, past, step, top)), class_="line") for run in _runs(past)
    ]
    minutes = len(past) * every_s / 60
    told = f"last {minutes:.1f} min: at most {seconds(max(known))} behind"
    if len(known) < len(past):
        told += f", unknown in {len(past) - len(known)} of {len(past)} looks"
    return tag(
        "svg", *paths, class_="spark", viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT,
        preserveAspectRatio="none", role="img", aria_label=told,
    )  # fmt: skip


def seconds(value: float) -> Markup:
    """A span of time as people say it, never broken in two: ``0.4 s``, ``12 s``, ``5 min``."""
    if value < 10:  # noqa: PLR2004 - below ten seconds tenths are worth a look
        return text(f"{value:.1f}\u00a0s")
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size:
            return text(f"{value / size:.0f}\u00a0{name}")
    return text(f"{value:.0f}\u00a0s")


def _runs(past: Sequence[float | None]) -> Iterator[range]:
    """The stretches without a gap."""
    start = None
    for at, value in enumerate([*past, None]):
        if value is not None and start is None:
            start = at
        elif value is None and start is not None:
            yield range(start, at)
            start = None


def _points(run: range, past: Sequence[float | None], step: float, top: float) -> Iterator[str]:
    room = HEIGHT - 2
    for at in run:
        y = 1 + room * (1 - (past[at] or 0.0) / top)
        yield f"{'M' if at == run.start else 'L'}{at * step:.1f} {y:.1f}"
    if len(run) == 1:
        yield f"h{max(step, 1.0):.1f}"  # a look between two gaps is a dash, not nothing
