"""Where results of the trading side keep their order ids, and what is none."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops import order_id
from quantum_ops.events import ApplyResult

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["order_id", "details", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def result(**fields: str) -> ApplyResult:
    return ApplyResult(plan_id="p", executed=True, symbol="BTCUSDT", **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"order_id": "123"},
        {"order_id": " 123 "},
        {"details": '{"side": "BUY", "order_id": 123}'},
        {"details": '{"order_id": "123", "permit": {"order_id": "9"}}'},
        {"steps_results": '[{"step": "CLOSE", "order_id": 123}]'},
        {"steps_results": '[{"order_id": 7}, {"order_id": "123"}]'},
        {"steps_results": '[{"order_id": 123}, {"step": "UPDATE_SL", "order_id": null}]'},
        {"order_id": "None", "details": '{"order_id": 123}', "steps_results": '[{"order_id": 7}]'},
        {"order_id": "null", "details": "[]", "steps_results": '[7, "x", {"order_id": 123}, 8]'},
    ],
)
def test_found_in_each_of_its_places_in_order(fields):
    assert order_id.find(result(**fields)) == "123"


@pytest.mark.parametrize(
    "value", ["", " ", "null", "None", "NONE", "NaN", "0", "00", "0.0", "-1", "true", "a b",
              "x" * 65, "1\n2", "\x1b[2J", "\u0661\u0662", None, True, False, 0, -1, 1.5, [], {}],
)  # fmt: skip
def test_no_order_id_in_any_place(value):
    text = json.dumps(value)
    assert order_id.find(result(details=f'{{"order_id": {text}}}')) == ""
    assert order_id.find(result(steps_results=f'[{{"order_id": {text}}}]')) == ""
    if isinstance(value, str):
        assert order_id.find(result(order_id=value)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "{", "nonsense", "[" * 100_000, '{"a":' * 100_000, '{"order_id": ' + "9" * 5000 + "}",
        '{"order_id": 1, "order_id": 2}', '[{"order_id": 1, "order_id": 1}]', "NaN", '"text"',
        '{"order_id": {"order_id": 5}}', "\x00", '{"order_id": 1e400}', "[" * 500 + "]" * 500,
    ],
    ids=range(13),
)  # fmt: skip
def test_hostile_json_holds_no_order_id(text):
    assert order_id.find(result(details=text, steps_results=text)) == ""


@given(JSON, JSON, st.text(max_size=30))
def test_whatever_is_found_is_an_order_id_that_stood_there(details, steps, top):
    texts = {"details": json.dumps(details), "steps_results": json.dumps(steps), "order_id": top}
    found = order_id.find(result(**texts))
    assert found == "" or re.fullmatch(r"[A-Za-z0-9._:/-]{1,64}", found)
    assert found == "" or any(found in text for text in texts.values())


@given(st.text(), st.text(), st.text())
def test_no_text_raises(top, details, steps):
    order_id.find(result(order_id=top, details=details, steps_results=steps))


@given(st.integers(1, 2**63 - 1))
def test_exchange_ids_are_found_digit_by_digit(number):
    assert order_id.find(result(details=json.dumps({"order_id": number}))) == str(number)
