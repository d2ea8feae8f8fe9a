"""Metrics from exporters of every kind: samples are recorded, everything else is a problem."""

from __future__ import annotations

import pytest

from quantum_ops.ledger.evidence import http_get, metrics
from tests.evidence_rig import Exporter, Host, page, soon

BODY = (
    b"# HELP p27_corr_ready ready\n# TYPE p27_corr_ready gauge\n"
    b"p27_corr_ready 1.0\np27_clusters_count 1.0\nother 5\n"
)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def exporter():
    started = []

    def start(answer):
        started.append(Exporter(answer))
        return started[-1]

    yield start
    for one in started:
        one.close()


def look(url, patterns=(), seconds=5.0):
    return metrics.look(url, patterns, {}, soon(seconds))


def test_the_specification_s_snapshot(host, exporter):
    url = exporter(page(BODY)).url
    found = host.collect(metrics_urls=[url], metrics_grep=["p27_corr_ready"])
    assert found["metrics_snapshot"] == f"# {url} | grep 'p27_corr_ready'\np27_corr_ready 1.0\n"
    assert "evidence" not in found


@pytest.mark.parametrize(("patterns", "lines", "asked"), [
    ([], ["p27_corr_ready 1.0", "p27_clusters_count 1.0", "other 5"], ""),
    (["p27_c.*_(ready|count)"], ["p27_corr_ready 1.0", "p27_clusters_count 1.0"],
     " | grep 'p27_c.*_(ready|count)'"),
    (["^other", "ready"], ["p27_corr_ready 1.0", "other 5"], " | grep -e '^other' -e 'ready'"),
    (["it's|other"], ["other 5"], " | grep 'it'\\''s|other'"),
])  # fmt: skip
def test_patterns_choose_samples(exporter, patterns, lines, asked):
    url = exporter(page(BODY)).url
    found = look(url, patterns)
    assert found.fields["metrics_snapshot"] == "\n".join([f"# {url}{asked}", *lines, ""])
    assert found.problems == []


def test_two_exporters_stand_behind_each_other(host, exporter):
    one, two = exporter(page(b"a 1\n")).url, exporter(page(b"b 2\n")).url
    found = host.collect(metrics_urls=[one, two])
    assert found["metrics_snapshot"] == f"# {one}\na 1\n# {two}\nb 2\n"


@pytest.mark.parametrize(("answer", "told"), [
    (page(BODY, "500 Internal Server Error"), "HTTP 500"),
    (page(BODY, "204 No Content"), "HTTP 204"),
    (page(b"", "302 Found", "Location: file:///etc/passwd"), "HTTP 302, to file:///etc/passwd"),
    (page(b"", "301 Moved", "Location: http://169.254.169.254/"), "which is not followed"),
    (page(b"x", "200 OK", "Content-Encoding: gzip"), "it is compressed"),
    (b"not http at all\r\n\r\n", "not http"), (b"", "without response"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "ends 95 bytes too early"),
    (page(b"# only comments\n"), "no sample there"),
])  # fmt: skip
def test_what_is_no_page_of_samples_is_a_problem_and_no_data(exporter, answer, told):
    found = look(exporter(answer).url)
    assert found.fields == {}
    assert told in found.problems[0]


def test_samples_that_match_nothing_are_a_problem(exporter):
    url = exporter(page(BODY)).url
    assert look(url, ["p28_"]).problems == [f"metrics: no sample matches ({url})"]


@pytest.mark.parametrize(("url", "told"), [
    ("file:///etc/passwd", "no address of http or https"), ("-K/tmp/x", "no address of http"),
    ("ftp://h/", "no address of http"), ("http://", "names no host"),
    ("127.0.0.1:80", "no address"),
    ("http://h:port/", "no address"), ("http://127.0.0.1:1/", "Connection refused"),
    ("http://h/\r\nX: y", "control characters"), ("http://h/a b", "control characters"),
    ("http://[::1", "no address"), ("http://169.254.169.254/latest/meta-data", "local link"),
    ("http://[fe80::1]/", "local link"), ("http://[::ffff:169.254.169.254]/", "local link"),
    ("http://no-such-host.invalid/", "(http://no-such-host.invalid/)"), ("", "no address"),
    ("gopher://h/", "no address"), ("http://a@b@c:1/", "metrics"),
])  # fmt: skip
def test_what_is_no_address_to_ask_is_a_problem(host, url, told):
    found = host.collect(metrics_urls=[url])
    assert "metrics_snapshot" not in found
    assert told in found["evidence_problems"][0]


def _drip_head(made):
    made.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        made.sendall(b"X")
        made.settimeout(0.02)
        try:
            if not made.recv(1):
                return
        except TimeoutError:
            pass


def _drip_body(made):
    made.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    _drip_head(made)


def _silent(made):
    made.recv(1)


@pytest.mark.parametrize("answer", [_drip_head, _drip_body, _silent])
def test_an_exporter_that_drips_is_cut_off(exporter, answer):
    found = look(exporter(answer).url, seconds=0.4)
    assert found.fields == {}
    assert "no whole answer in time" in found.problems[0]


def test_a_page_of_more_than_a_mebibyte_is_looked_at_up_to_there(exporter):
    line = b"sample 1\n"
    url = exporter(page(line * (2 * http_get.MOST_BYTES // len(line)))).url
    found = look(url, ["sample"])
    lines = found.fields["metrics_snapshot"].splitlines()
    assert len(lines) == 1 + metrics.LINES + 1
    assert lines[-1].endswith(" more")
    assert "more than 1 MiB" in found.problems[0]


@pytest.mark.parametrize("pattern", ["(", "*a", "[", "(?P<x", "a{99999999999}"])
def test_a_pattern_that_is_none_is_told(exporter, pattern):
    found = look(exporter(page(BODY)).url, [pattern])
    assert "not a pattern" in found.problems[0]


def test_a_pattern_without_a_page_is_a_check_that_was_not_made(host):
    (problem,) = host.collect(metrics_grep=["p27_corr_ready"])["evidence_problems"]
    assert problem.startswith("metrics_grep: there is no page")


def test_a_pattern_that_takes_for_ever_is_given_up(exporter):
    url = exporter(page(b"a" * 60 + b" 1\n")).url
    found = look(url, ["(a+)+$"], seconds=1.0)
    assert "take too long" in found.problems[0]


def test_what_an_exporter_says_breaks_nothing(exporter):
    url = exporter(
        page(b"a\x1b[31m \xff 1\nb\t2\r\n```\n# http://other | grep 'x'\nforged 1\n")
    ).url
    shown = look(url).fields["metrics_snapshot"].splitlines()
    assert shown == [f"# {url}", "a\\x1b[31m \\\\xff 1".replace("\\\\x", "\\x"), "b\\t2", "```",
                     "forged 1"]  # fmt: skip


def test_neither_proxies_nor_a_login_in_the_address_are_taken_for_something_else(
    exporter, monkeypatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = exporter(page(b"a 1\n"))
    url = server.url.replace("://", "://user:pw%20word@")
    found = look(url)
    assert found.problems == []
    assert b"Authorization: Basic dXNlcjpwdyB3b3Jk\r\n" in server.asked[0]
    assert server.asked[0].startswith(b"GET /metrics HTTP/1.1\r\n")
