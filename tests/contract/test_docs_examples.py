"""Code in the docs runs as it stands there."""

from __future__ import annotations

import re
import sys
import types

from quantum_ops import consumer, knobs
from quantum_ops.settings import RuntimeSettings
from tests.contract.reference import ROOT

PAGE = (ROOT / "docs" / "write-a-consumer.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_smallest_consumer_and_its_test_run(monkeypatch):
    module = types.ModuleType("consumers.deploy_watch")
    exec(BLOCKS[0], vars(module))
    monkeypatch.setitem(sys.modules, "consumers.deploy_watch", module)
    scope: dict[str, object] = {}
    exec(BLOCKS[1], scope)
    scope["test_a_rollback_is_told"]()
    assert module.deploy_watch.name == "deploy_watch"


def test_defaults_written_out_are_the_defaults():
    scope: dict[str, object] = {}
    exec("from quantum_ops import streams\nfrom quantum_ops.consumer import consumer", scope)
    exec(BLOCKS[2], scope)
    written = scope["deploy_watch"]
    assert isinstance(written, consumer.Consumer)
    plain = consumer.consumer(*written.streams)(written.handler)
    runtime = knobs.load(RuntimeSettings)
    assert written.bound(runtime) == plain.bound(runtime)
