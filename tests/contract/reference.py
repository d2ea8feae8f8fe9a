"""The only place that renders reference tables of the docs from the code.

``python -m tests.contract.reference`` writes them into docs/ between their marks; a test compares.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import yaml

from consumers import ledger, order_proof, universe_audit
from ops import ops_bounds
from ops.__main__ import names, summary
from ops.exporter import catalogue
from ops.warden import rounds
from quantum_ops import settings, streams
from quantum_ops.acl import catalogue as users
from quantum_ops.audit import case
from quantum_ops.history import gaps
from quantum_ops.ledger.evidence import commands
from quantum_ops.measures import Registry, of_process
from quantum_ops.metrics import MetricsObserver
from quantum_ops.observe import BatchReport, Trouble
from quantum_ops.p33.reasons import REASONS

AUDITORS = {
    "universe_audit": universe_audit.CHECKS,
    "permit_audit": case.FINDINGS,
    "order_proof": order_proof.FINDINGS,
    "ledger": ledger.FINDINGS,
    "archive": gaps.FINDINGS,
    "warden": rounds.FINDINGS,
}
ROOT = Path(__file__).resolve().parents[2]


def settings_table() -> str:
    parts = []
    for section in settings.SECTIONS:
        doc = (section.__doc__ or "").strip()
        parts.append(f"### {doc}\n\n| setting | default | what it is |\n| --- | --- | --- |")
        for field in dataclasses.fields(section):
            default = field.default
            shown = getattr(default, "pattern", default)
            shown = "(empty)" if shown == "" else f"`{_plain(shown)}`"
            text = field.metadata["doc"].replace("|", "\\|")
            parts[-1] += f"\n| `{field.metadata['env']}` | {shown} | {text} |"
    return "\n\n".join(parts)


def streams_table() -> str:
    rows = ["| stream | event | written by | kept at least |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{one.key}` | `{one.event.__name__}` ({one.event.schema or 'no envelope'}) "
        f"| {one.written_by}{'' if one.ours else ', never by us'} "
        f"| {one.retention_s // streams.DAY_S} days |"
        for one in streams.CATALOGUE
    ]
    return "\n".join(rows)


def keys_table() -> str:
    constants = {
        name: value
        for name, value in vars(streams).items()
        if name.isupper() and isinstance(value, str) and value.startswith("quantum:")
    }
    rows = ["| key | name in `streams.py` |", "| --- | --- |"]
    rows += [
        f"| `{value}` | `{name}` |"
        for name, value in constants.items()
        if name != "_PREFIX" and not value.endswith((":", "*"))
    ]
    return "\n".join(rows)


def families_table() -> str:
    rows = ["| key | name in `streams.py` | what it is |", "| --- | --- | --- |"]
    for name, made in vars(streams).items():
        if not inspect.isfunction(made) or made.__annotations__.get("return") != "str":
            continue
        key = made(*(parameter.upper() for parameter in inspect.signature(made).parameters))
        if key.startswith("quantum:"):
            what = " ".join((made.__doc__ or "").partition("\n\n")[0].split()).replace("``", "`")
            rows.append(f"| `{key}` | `{name}()` | {what} |")
    return "\n".join(rows)


def metrics_table() -> str:
    rows = ["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels) or 'none'} | {doc} |"
        for name, (kind, labels, doc) in metrics().items()
    ]
    return "\n".join(rows)


def metrics() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Every metric that is served, as Prometheus names it: kind, labels, meaning."""
    registry = Registry()
    observer = MetricsObserver(registry)
    observer.expect("group")
    observer.settled(BatchReport("group", durations_s=[0.1], ages_s=[0.1]))
    observer.trouble(Trouble("group", "retry", reason="asked"))
    registry.add(of_process)
    found = {}
    for family in registry.collect():
        labels = dict.fromkeys(label for one in family.samples for label in one.labels)
        labels.pop("le", None)
        found[_named(family.name, family.kind)] = (family.kind, (*labels, "process"), family.doc)
    for measure in catalogue.ALL:
        found[_named(measure.name, measure.kind)] = (measure.kind, measure.labels, measure.doc)
    return found


def _named(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def alerts_table() -> str:
    rows = [
        "| alert | severity | holds for | what it says | runbook |",
        "| --- | --- | --- | --- | --- |",
    ]
    text = (ROOT / "ops" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            page = rule["annotations"]["runbook_url"].rpartition("/")[2]
            said = re.sub(
                r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", r"*\1*", rule["annotations"]["summary"]
            )
            rows.append(
                f"| `{rule['alert']}` | {rule['labels']['severity']} | {rule.get('for', '0s')} "
                f"| {said} | [{page.removesuffix('.md')}](runbooks/{page}) |"
            )
    return "\n".join(rows)


def verbs_table() -> str:
    rows = ["| verb | what it does |", "| --- | --- |"]
    rows += [f"| `./run {verb}` | {summary(verb)} |" for verb in names()]
    return "\n".join(rows)


def findings_table() -> str:
    rows = ["| auditor | finding | severity | when |", "| --- | --- | --- | --- |"]
    for auditor, table in AUDITORS.items():
        rows += [
            f"| {auditor} | `{name}` | {severity} | {when} |"
            for name, (severity, when) in table.items()
        ]
    return "\n".join(rows)


def reasons_table() -> str:
    rows = ["| reason | what becomes of the plan | when |", "| --- | --- | --- |"]
    rows += [f"| `{code}` | {outcome} | {when} |" for code, (outcome, when) in REASONS.items()]
    return "\n".join(rows)


def bounds_table() -> str:
    rows = ["| what | where | instead |", "| --- | --- | --- |"]
    for rule in ops_bounds.RULES:
        where = ", ".join(f"`{one}`" for one in (*rule.wholes, *rule.trees))
        where += " themselves, not what is in them" if rule.wholes else ""
        if rule.names:
            named = ", ".join(f"`{one}`" for one in rule.names)
            where += f"{'; ' if where else ''}whatever is called {named}"
        rows.append(f"| {rule.what} | {where} | {rule.cure} |")
    by_reason: dict[str, list[str]] = {}
    for name, reason in ops_bounds.SERVICES.items():
        by_reason.setdefault(reason, []).append(f"`{name}`")
    rows += [f"| services | {', '.join(names)} | {why} |" for why, names in by_reason.items()]
    return "\n".join(rows)


def commands_table() -> str:
    return "```\n" + textwrap.fill(", ".join(sorted(commands.ALLOWED)), 118) + "\n```"


def audit_user() -> str:
    rules = commands.acl_rules().split(" -@all ")
    lines = [f"ACL SETUSER audit on '>PASSWORD' {rules[0]} -@all", *textwrap.wrap(rules[1], 110)]
    return "```sh\nredis-cli " + " \\\n    ".join(lines) + "\n```"


def users_table() -> str:
    rows = ["| user | who | appends to | takes from | keeps |", "| --- | --- | --- | --- | --- |"]
    for user in (*users.users(demo=True), users.DEFAULT):
        cells = [
            "everything"
            if user.all_rights
            else _keys(
                key
                for grant in user.grants
                if set(rights) & set(grant.commands)
                for key in (*grant.write, *grant.both)
                if not key.startswith(_EVERYBODYS)
            )
            for rights in (("xadd",), ("xreadgroup",), ("set", "hset"))
        ]
        rows.append(f"| `{user.name}` | {user.doc} | {' | '.join(cells)} |")
    return "\n".join(rows)


_EVERYBODYS = (
    streams.HEARTBEAT_PREFIX, streams.idempotency("", "")[:-2], streams.checkpoint("", "")[:-2],
    streams.home(""),
)  # fmt: skip
"""Keys that every program has in its own name."""


def _keys(found: Iterable[str]) -> str:
    return ", ".join(f"`{streams.short(key)}`" for key in dict.fromkeys(found)) or "-"


TABLES = {
    "docs/acl.md": {"users": users_table},
    "docs/OPS_GOVERNOR.md": {"bounds": bounds_table},
    "docs/ledger-evidence.md": {"commands": commands_table, "user": audit_user},
    "docs/p33.md": {"reasons": reasons_table},
    "docs/settings.md": {"settings": settings_table},
    "docs/streams.md": {
        "streams": streams_table,
        "keys": keys_table,
        "families": families_table,
        "findings": findings_table,
    },
    "docs/alerts.md": {"alerts": alerts_table},
    "docs/metrics.md": {"metrics": metrics_table},
    "README.md": {"verbs": verbs_table},
}


def mark(name: str) -> re.Pattern[str]:
    """The place of a table: between two comments."""
    return re.compile(rf"(<!-- {name}: generated -->\n).*?(\n<!-- end -->)", re.DOTALL)


def rendered(path: str, text: str) -> str:
    """``text`` with each of its tables as the code says it should be."""
    for name, table in TABLES[path].items():
        places = list(mark(name).finditer(text))
        if len(places) != 1:
            raise LookupError(f"{path}: table {name!r} has {len(places)} places, not one")
        [place] = places
        text = text[: place.end(1)] + table() + text[place.start(2) :]
    return text


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    for path in TABLES:
        file = ROOT / path
        file.write_text(rendered(path, file.read_text(encoding="utf-8")), encoding="utf-8")
        print(path)
