"""What an operation may have in its scope, and what it may not: no spelling gets around it."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import ops_bounds
from ops.ops_scope import ScopeError, check_path, check_service

ROOT = Path("/srv/quantum-ops")
ELSEWHERE = "/home/qt/quantum_trader"
GOOD = [
    "/etc/grafana/provisioning", "/var/lib/grafana/dashboards/quantum", "/path1",
    "microservices/portfolio_clusters/", "microservices/portfolio_gate/main.py",
    "deployment/systemd/quantum-portfolio-clusters.service", "/etc/quantum/universe-service.env",
    "ops/proof_universe.sh", "supervisor/conf.d/", "docs/universe.md", "ops/systemd",
    f"{ROOT}/docs/universe.md", f"{ELSEWHERE}/docs/universe.md", "producers/credentials.py",
    "/etc/systemd/system/quantum-universe-service.service", "./docs//universe.md", "My Dashboards",
]  # fmt: skip
BAD = {
    "everything": ["/", "//", "/.", "/etc", "/etc/", "//etc", "/./etc", "/ETC", "/home", "/home/qt",
                   ".", "./", "./.", "/srv", str(ROOT), ELSEWHERE, "/var/lib"],
    "access": ["/etc/passwd", "/etc/ssh/sshd_config", "/root/x", "/etc/ufw", "/etc/hosts",
               "/etc/systemd", "/etc/systemd/network/a.network"],
    "system": ["/usr/bin/redis-cli", "/boot", "/proc/1/mem"],
    "logs": ["/var/log", "/var/log/syslog"],
    "data": ["/var/lib/redis/dump.rdb", "/var/lib/grafana", "var", "var/data/appendonlydir"],
    "secrets": ["/etc/quantum", "/etc/quantum/positions.env", "/srv/a/b.pem", "/srv/.ssh/config",
                "/srv/a/.env", "a/id_rsa", "/etc/quantum/binance-api-key",
                "/etc/quantum/API_SECRET", "conf/secrets.yaml", "conf/secrets/x.json",
                "x/Server.PEM"],
    "history": [".git", ".git/hooks/pre-commit", "/srv/x/.git/config", ".GIT/config", "sub/.git"],
    "ledger": ["ops", "ops/", "ops/ledger", "ops/ledger/journal/2026-01.jsonl", "docs",
               "docs/OPS_CHANGELOG.md", "docs/OPS_CHANGELOG/2026-01.md", f"{ROOT}/docs/../ops",
               f"{ELSEWHERE}/ops", f"{ELSEWHERE}/ops/ledger", "/mnt/copy/ops/ledger/checkpoint"],
    "governor": ["ops/ops_bounds.py", "ops/hooks/pre-commit", "docs/OPS_GOVERNOR.md"],
    "trading": ["microservices", "microservices/apply_layer/main.py", "Microservices/Apply_Layer",
                "consumers", "consumers/p33.py", "quantum_ops", "/opt/live/microservices/governor"],
    "unclear": ["", "  ", " docs/universe.md", "../x", "a/../../etc", "/a/..", "~/x", "~root",
                "$HOME/x", "`id`", "a;b", "/a,/b", "a, ./b", "{a,b}", "C:\\x", "a\nb", "a\u200b",
                "<path>", "a" * 1025, "*", "ops/*.sh", "/srv/a/?", "a[bc]"],
}  # fmt: skip


@pytest.mark.parametrize("path", GOOD)
def test_what_an_operation_may_change(path):
    check_path("allowed_paths", path, ROOT)


@pytest.mark.parametrize("path", [path for kind in BAD.values() for path in kind])
def test_what_no_operation_may_change(path):
    with pytest.raises(ScopeError) as told:
        check_path("allowed_paths", path, ROOT)
    shown, _, cure = str(told.value).rpartition(": ")
    assert shown.startswith(f"allowed_paths: {path[:200]!r}")
    assert cure


PLACES = [(rule, place) for rule in ops_bounds.RULES for place in (*rule.wholes, *rule.trees)]


@pytest.mark.parametrize(("rule", "place"), PLACES, ids=lambda one: one if str(one) == one else "")
def test_every_place_of_the_list_is_refused_for_its_reason(rule, place):
    with pytest.raises(ScopeError, match=re.escape(f"({rule.what}): {rule.cure}")):
        check_path("x", place.replace("/*", "/somebody"), ROOT)


trees = st.sampled_from([place for rule in ops_bounds.RULES for place in rule.trees])
deeper = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=4), max_size=3)


@given(trees, deeper, st.data())
def test_no_way_of_writing_it_opens_a_place(place, below, data):
    """Given a place, when it, what is around it or in it is written anyhow, it is refused."""
    parts = [part for part in place.split("/") if part]
    cut = data.draw(st.integers(1, len(parts)))
    parts = parts[:cut] + (below if cut == len(parts) else [])
    parts = [part.swapcase() if data.draw(st.booleans()) else part for part in parts]
    between = data.draw(st.sampled_from(["/", "//", "/./"]))
    start = (
        "/" if place[0] == "/" else data.draw(st.sampled_from(["", f"{ROOT}/", ELSEWHERE + "/"]))
    )
    with pytest.raises(ScopeError):
        check_path("x", start + between.join(parts) + between, ROOT)


@given(st.text(max_size=30))
def test_any_text_is_judged(text):
    try:
        check_path("x", text, ROOT)
    except ScopeError as error:
        assert str(error).startswith("x: ")


def test_where_the_checkout_lies_decides_nothing():
    for root in ("/root/quantum-ops", "/home/secrets/quantum-ops"):
        check_path("x", "docs/universe.md", Path(root))
        check_path("x", f"{root}/docs/universe.md", Path(root))


def test_a_ledger_is_refused_wherever_it_lies():
    elsewhere = [Path("/srv/audit/ledger")]
    check_path("x", "/srv/audit", ROOT)
    for path in ("/srv/audit", "/srv/audit/ledger/journal"):
        with pytest.raises(ScopeError, match="the signoff ledger"):
            check_path("x", path, ROOT, elsewhere)
    with pytest.raises(ScopeError, match="the signoff ledger"):
        check_path("x", "kept/here/journal", ROOT, [ROOT / "kept" / "here"])


def test_a_link_is_judged_by_where_it_leads(tmp_path):
    root = tmp_path / "checkout"
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "there").symlink_to("/etc/ssh")
    check_path("x", "conf", root)
    for path in ("conf/there/sshd_config", f"{root}/conf/there"):
        with pytest.raises(ScopeError, match=r"a link to '/etc/ssh.*', reaches /etc/ssh"):
            check_path("x", path, root)
    (tmp_path / "other").symlink_to(root)
    with pytest.raises(ScopeError, match="reaches ops/ledger"):
        check_path("x", f"{tmp_path}/other/ops", root)


@pytest.mark.parametrize("name", ["grafana-server", "service1", "p33:p33-00", "user@1000.service"])
def test_a_service_may_be_restarted(name):
    check_service("allowed_services", name)


@pytest.mark.parametrize(
    "name",
    ["", "all", "ALL", "p33:*", "*", "-x", "a b", "a,b", "a;b", "a\n", "sshd", "ssh.service",
     "ssh.socket", "NetworkManager", "reboot.target", "quantum-apply-layer", "<svc>", "é"],
)  # fmt: skip
def test_a_service_that_no_operation_restarts(name):
    with pytest.raises(ScopeError) as told:
        check_service("allowed_services", name)
    assert str(told.value).startswith(f"allowed_services: {name!r}")
