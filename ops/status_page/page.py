"""The only place of the page around the parts, and of what one look makes of it for everybody."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ops.status_page import rendering
from ops.status_page.collector import Collector, why
from ops.status_page.markup import Markup, joined, tag
from ops.status_page.picture import Picture
from ops.status_page.verdict import Verdict, aged, judge
from quantum_ops import logs

RELOAD_S = 10
"""Seconds after which a browser without JavaScript loads the page again."""
DOCTYPE = Markup("<!doctype html>\n")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look made: its number, the verdict, and the parts as HTML. ``at_s`` is monotonic."""

    number: int = 0
    at_s: float = 0.0
    picture: Picture = field(default_factory=Picture)
    verdict: Verdict = field(default_factory=lambda: judge(Picture(), behind_s=0))
    parts: dict[str, Markup] = field(default_factory=dict)


def take(collector: Collector, number: int, at_s: float, every_s: float, behind_s: float) -> Look:
    """Look, render and judge. A part that cannot be shown is as unknown as one not seen."""
    seen = collector.look()
    trend = collector.trend()
    parts = {}
    for name in rendering.TITLES:
        try:
            parts[name] = rendering.part(name, seen, trend, every_s)
        except Exception as error:  # noqa: BLE001 - a defect in one part must not hide the others
            logs.get().exception("part_not_shown", part=name)
            found = getattr(seen, name)
            unknown = replace(found, value=None, problem=f"cannot be shown: {why(error)}")
            seen = replace(seen, **{name: unknown})
            parts[name] = rendering.part(name, seen, trend, every_s)
    verdict = judge(seen, behind_s=behind_s)
    parts = {"verdict": rendering.verdict(verdict, seen), **parts}
    return Look(number, at_s, seen, verdict, parts)


def fresh(look: Look, now_s: float, every_s: float) -> tuple[Verdict, dict[str, Markup]]:
    """Verdict and parts as they are to be shown now (monotonic seconds): an old look says so."""
    verdict = aged(look.verdict, now_s - look.at_s, every_s)
    if verdict is look.verdict and look.parts:
        return verdict, look.parts
    parts = look.parts or rendering.parts(look.picture, verdict, {}, every_s)
    return verdict, {**parts, "verdict": rendering.verdict(verdict, look.picture)}


def whole(verdict: Verdict, parts: dict[str, Markup]) -> Markup:
    """The page. It is complete as it is; the script only keeps it so."""
    sections = [
        tag(
            "section",
            tag("h2", title, id=f"{name}-title"),
            tag("div", parts[name], data_part=name),
            id=name,
            aria_labelledby=f"{name}-title",
            class_="part",
        )
        for name, title in rendering.TITLES.items()
    ]
    header = tag(
        "header",
        tag("h1", "quantum ops"),
        tag("div", parts["verdict"], data_part="verdict", id="verdict"),
        tag("p", "Reload to see what is new.", id="live", class_="note"),
    )
    return document(f"{verdict.word} · quantum ops", header, tag("main", *sections, id="main"))


def document(title: str, *body: Markup, reload: bool = True) -> Markup:
    """An HTML document of ours."""
    again = tag("noscript", tag("meta", http_equiv="refresh", content=RELOAD_S)) if reload else ""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", title),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="stylesheet", href="/static/page.css"),
        tag("script", src="/static/page.js", defer=True) if reload else "",
        again,
    )
    skip = tag("a", "Skip to the parts", href="#main", class_="skip") if reload else ""
    told = "Read-only, on this machine only. All times are UTC."
    foot = tag("footer", tag("p", told, class_="note"))
    return joined(DOCTYPE, tag("html", head, tag("body", skip, *body, foot), lang="en"))
