"""Code in the docs runs as it stands there."""

from __future__ import annotations

import re
import sys
import types

import pytest

from quantum_ops import consumer, knobs
from quantum_ops.settings import RuntimeSettings
from tests.contract.reference import ROOT

PAGE = (ROOT / "docs" / "write-a-consumer.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    ("name", "code", "test", "story"),
    [("deploy_watch", *BLOCKS[:2], "test_a_rollback_is_told"),
     ("small_gate", *BLOCKS[3:5], "test_every_plan_is_answered_once")],
)  # fmt: skip
def test_consumer_of_the_page_and_its_test_run(monkeypatch, name, code, test, story):
    module = types.ModuleType(f"consumers.{name}")
    exec(code, vars(module))
    monkeypatch.setitem(sys.modules, f"consumers.{name}", module)
    scope: dict[str, object] = {}
    exec(test, scope)
    scope[story]()
    assert getattr(module, name).name == name


def test_defaults_written_out_are_the_defaults():
    scope: dict[str, object] = {}
    exec("from quantum_ops import streams\nfrom quantum_ops.consumer import consumer", scope)
    exec(BLOCKS[2], scope)
    written = scope["deploy_watch"]
    assert isinstance(written, consumer.Consumer)
    plain = consumer.consumer(*written.streams)(written.handler)
    runtime = knobs.load(RuntimeSettings)
    assert written.bound(runtime) == plain.bound(runtime)
