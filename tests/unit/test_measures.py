"""The only place of stories about what a process counts, beside the library it does without."""

from __future__ import annotations

import sys

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from quantum_ops.measures import BatchHistogram, Counter, Registry, of_process


def test_a_counter_begins_at_nought_and_only_grows():
    registry = Registry()
    counter = Counter("quantum_x", "X.", ("group", "why"), registry)
    assert [family.samples for family in registry.collect()] == [[]]
    counter.inc("g", "a", by=0)
    counter.inc("g", "b")
    counter.inc("g", "b", by=2.0)
    [family] = registry.collect()
    assert [(one.name, one.labels, one.value) for one in family.samples] == [
        ("quantum_x_total", {"group": "g", "why": "a"}, 0.0),
        ("quantum_x_total", {"group": "g", "why": "b"}, 3.0),
    ]


def test_a_histogram_of_two_groups_keeps_them_apart():
    histogram = BatchHistogram("h", "doc", (0.1, 1.0))
    histogram.observe("a", [0.05, 5.0])
    histogram.observe("b", [0.5])
    histogram.observe("a", [0.2])
    [family] = histogram.collect()
    told = {(one.name, one.labels["group"], one.labels.get("le")): one.value
            for one in family.samples}  # fmt: skip
    assert [told["h_bucket", "a", le] for le in ("0.1", "1.0", "+Inf")] == [1, 2, 3]
    assert (told["h_count", "a", None], told["h_sum", "a", None]) == (3, 5.25)
    assert (told["h_count", "b", None], told["h_bucket", "b", "0.1"]) == (1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it in /proc")
def test_what_the_kernel_tells_is_what_prometheus_client_would_tell():
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    theirs = {one.name: one for one in registry.collect()}
    ours = {one.name: one for one in of_process()}
    assert ours.keys() == theirs.keys()
    for name, family in ours.items():
        assert (family.kind, family.doc) == (theirs[name].type, theirs[name].documentation)
        [mine], [other] = family.samples, theirs[name].samples
        assert mine.name == other.name
        assert mine.value == pytest.approx(other.value, rel=0.2, abs=1.0)


def test_a_name_in_brackets_shifts_nothing_and_a_missing_proc_tells_nothing(tmp_path):
    assert list(of_process(tmp_path)) == []
    folder = tmp_path / "self"
    (folder / "fd").mkdir(parents=True)
    (tmp_path / "stat").write_text("cpu 1\nbtime 1000\n")
    told = ["S", *map(str, range(1, 50))]
    (folder / "stat").write_text(f"7 (a) b (c)) {' '.join(told)}\n")
    found = {one.name: one.samples[0].value for one in of_process(tmp_path)}
    assert found["process_virtual_memory_bytes"] == 20
