"""One value, one spelling: every report finds it by the text that is stored, on each engine."""

from __future__ import annotations

import json
import random
import struct
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from analytics_app.behaviour import sealing
from analytics_app.models import db
from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour.histories import START

HUGE = "7" * 4300
# What is sent, and the text that it is stored, answered and asked for as.
SPELLED = {
    "1": "1", "1.0": "1.0", "1e0": "1.0", "-0": "0", "0": "0", "0.0": "0.0", "-0.0": "-0.0",
    "0.30000000000000004": "0.30000000000000004", "0.3": "0.3", "0.30": "0.3", "1.50": "1.5",
    "0.29999999999999998": "0.3", "0.300000000000000044": "0.30000000000000004",
    "1E2": "100.0", "100": "100", "1e20": "1e+20", "100000000000000000000": "100000000000000000000",
    "1e15": "1000000000000000.0", "1e16": "1e+16", "1e-5": "0.00001", "0.0000001": "1e-7",
    "9007199254740991": "9007199254740991", "9007199254740993": "9007199254740993",
    "9007199254740992": "9007199254740992", "9007199254740993.0": "9007199254740992.0",
    "9223372036854775807": "9223372036854775807", "9223372036854775808": "9223372036854775808",
    "-9223372036854775808": "-9223372036854775808", "-9223372036854775809": "-9223372036854775809",
    "18446744073709551615": "18446744073709551615", "18446744073709551616": "18446744073709551616",
    "18446744073709551616.0": "1.8446744073709552e+19",
    "1e300": "1e+300", "1e-300": "1e-300", "-1e300": "-1e+300", "5e-324": "5e-324",
    "1e-400": "0.0", "1.7976931348623157e308": "1.7976931348623157e+308",
    "123456789012345678": "123456789012345678", "123456789012345680": "123456789012345680",
    HUGE: HUGE, f"-{HUGE}": f"-{HUGE}", HUGE[1:]: HUGE[1:],
    '"1"': "1", '"1.0"': "1.0", '"1e20"': "1e20", '"true"': "true", "true": "true",
    "false": "false",
    '"null"': "null", '""': "", '" 1"': " 1", '"\\u0031"': "1", '"\\/"': "/", '"/"': "/",
    '"a\\"b\\\\c"': 'a"b\\c', '"\\n\\u0001\\u007f"': "\n\x01\x7f", '"\\u00e9"': "é", '"é"': "é",
    '"e\\u0301"': "e\u0301", '"\\ud835\\udd4f"': "𝕏", '"$.k"': "$.k", '"%_*"': "%_*",
    "[1.0,1e2]": "[1.0,100.0]", "[1,[]]": "[1,[]]", '{"a": 0.30000000000000004}':
    '{"a":0.30000000000000004}', "{}": "{}", "[]": "[]", '["\\u00e9\\n"]': '["é\\n"]',
}  # fmt: skip
KEYS = ("k", 'a"b', "ключ", "a.b", "$", "\\", "\n")
Case = tuple[str, str]  # what is sent, and what is stored


def doubles(seed: int, number: int) -> list[Case]:
    """Returns doubles of any size, each sent with up to 25 digits or as short as can be."""
    chance = random.Random(seed)
    found: list[Case] = []
    while len(found) < number:
        (value,) = struct.unpack("<d", chance.randbytes(8))
        if value - value == 0:
            sent = chance.choice([f"{value:.24e}", repr(value)])
            found.append((sent, to_json(value).decode()))
    return found


def whole_numbers(seed: int, number: int) -> list[Case]:
    chance = random.Random(seed)
    near = [2**53, 2**63, 2**64, 10**19, 10**300]
    values = [chance.choice(near) + chance.randint(-3, 3) for _ in range(number)]
    return [(str(value), str(value)) for value in values]


def send(admin: Api, cases: list[Case], key: str, *, lines: bool) -> None:
    """Sends one event for each case; its number is in `i`."""
    name = json.dumps(key)
    events = [
        f'{{"event_type":"a","user_id":{i + 1},"created_at":"{moment(i)}",'
        f'"metadata":{{{name}:{sent},"i":{i}}}}}'
        for i, (sent, _) in enumerate(cases)
    ]
    data = "\n".join(events) if lines else f'{{"events":[{",".join(events)}]}}'
    kind = "application/x-ndjson" if lines else "application/json"
    answer = admin.call("POST", "/analytics/events/batch", data=data.encode(), content_type=kind)
    assert answer.status_code == 200, answer.get_json()
    assert answer.get_json()["accepted"] == len(cases), answer.get_json()


def moment(number: int) -> str:
    at: datetime = START + timedelta(minutes=number)
    return at.isoformat().replace("+00:00", "Z")


RANGE = {"start": "2026-03-20", "end": "2026-03-25"}


def disagreements(admin: Api, cases: list[Case], key: str) -> list[tuple[str, Any, Any]]:
    """Returns each text for which a report doesn't find exactly the events that have it."""
    stored = [text for _, text in cases]
    wrong: list[tuple[str, Any, Any]] = []

    def compare(what: str, found: Any, expected: Any) -> None:
        if found != expected:
            wrong.append((what[:60], found, expected))

    for text in dict.fromkeys(stored):
        having = [i for i, each in enumerate(stored) if each == text]
        given: dict[str, Any] = {f"metadata.{key}": text, **RANGE}
        page = admin.get("/analytics/events", **given, limit=500)
        compare(f"list {text}", [e["metadata"]["i"] for e in page["items"]][::-1], having)
        broken = admin.get("/analytics/breakdown", event_type="a", key="i", **given)
        compare(f"breakdown {text}", broken["total"]["count"], len(having))
        steps = [{"event_type": "a", "metadata": {key: text}}, {"event_type": "b"}]
        answer = admin.call("POST", "/analytics/funnel", json={"steps": steps, **RANGE})
        compare(f"funnel {text}", answer.get_json()["steps"][0]["users"], len(having))
    by_value = admin.get("/analytics/breakdown", event_type="a", key=key, limit=100, **RANGE)
    compare(
        "values",
        {each["value"]: each["count"] for each in by_value["items"]},
        dict(sorted(Counter(stored).items(), key=lambda e: (-e[1], e[0]))[:100]),
    )
    (listed,) = [
        each for each in admin.get("/analytics/properties", **RANGE)["items"] if each["key"] == key
    ]
    compare("properties", listed["distinct_values"], len(set(stored)))
    return wrong


def exported(admin: Api, key: str) -> list[str]:
    """Returns the value's text in each line of the export, in order of the events' numbers."""
    lines = admin.call("GET", "/analytics/export").get_data().decode().splitlines()
    found = {}
    for line in lines:
        head = f'"metadata":{{{to_json(key).decode()}:'
        text, _, rest = line.partition(head)[2].rpartition(',"i":')
        found[int(rest.partition("}")[0])] = text
    return [found[i] for i in range(len(found))]


@pytest.mark.parametrize("lines", [False, True])
def test_a_value_is_found_by_its_spelling_and_no_other_raw_and_sealed(
    admin: Api, lines: bool
) -> None:
    cases = list(SPELLED.items())
    send(admin, cases, "k", lines=lines)
    assert disagreements(admin, cases, "k") == []
    assert list(sealing.seal_due(db, START + timedelta(days=40)))
    assert disagreements(admin, cases, "k") == []
    texts = exported(admin, "k")
    assert [spelled(text) for text in texts] == [text for _, text in cases]


def spelled(text: str) -> Any:
    return json.loads(text) if text.startswith('"') else text


@pytest.mark.parametrize("seed", range(2))
def test_numbers_of_any_size_are_told_apart(admin: Api, seed: int) -> None:
    cases = [*doubles(seed, 20), *whole_numbers(seed, 15)]
    send(admin, cases, "k", lines=bool(seed % 2))
    assert disagreements(admin, cases, "k") == [], f"seed {seed}"
    assert list(sealing.seal_due(db, START + timedelta(days=40)))
    assert disagreements(admin, cases, "k") == [], f"seed {seed}"


@pytest.mark.parametrize("key", KEYS)
def test_a_key_may_be_written_in_any_way(admin: Api, key: str) -> None:
    cases = [("1", "1"), ("1.0", "1.0"), ("18446744073709551616", "18446744073709551616"),
             ("true", "true"), ('"x"', "x")]  # fmt: skip
    send(admin, cases, key, lines=False)
    assert disagreements(admin, cases, key) == []


def test_a_number_in_a_body_means_what_an_event_with_it_means(admin: Api) -> None:
    """A funnel's conditions are JSON: 1E2 is asked for as it was sent."""
    sent = [each for each in SPELLED if each[0] in "-0123456789" and len(each) < 4000]
    send(admin, [(each, SPELLED[each]) for each in sent], "k", lines=False)
    for each in sent:
        data = (
            f'{{"steps":[{{"event_type":"a","metadata":{{"k":{each}}}}},{{"event_type":"b"}}],'
            '"start":"2026-03-20","end":"2026-03-25"}'
        )
        answer = admin.call(
            "POST", "/analytics/funnel", data=data, content_type="application/json"
        ).get_json()
        alike = sum(SPELLED[other] == SPELLED[each] for other in sent)
        assert answer["steps"][0]["users"] == alike, each
