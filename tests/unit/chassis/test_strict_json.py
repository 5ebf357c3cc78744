"""JSON is judged by its grammar: of any depth, with numbers of any length, and nothing else."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from chassis import strict_json
from chassis.strict_json import Repeated, parsed, shallow


def a_value(chance: random.Random, levels: int) -> Any:
    """Returns a value of some levels, often with one deep branch."""
    if not levels or chance.random() < 0.2:
        return chance.choice([0, -1.5, "", 'a"[{\\', "]}", "é\n", True, None, [], {}])
    size = chance.randint(1, 3)
    members = [a_value(chance, levels - 1) for _ in range(size)]
    if chance.random() < 0.5:
        return members
    return {chance.choice(["a", "[", '"', "}", "\\"]) + str(n): m for n, m in enumerate(members)}


def cut(value: Any, levels: int) -> Any:
    """Returns the value with 0 for the containers that begin below so many levels."""
    if not isinstance(value, dict | list) or not value:
        return value
    if not levels:
        return 0
    if isinstance(value, dict):
        return {name: cut(each, levels - 1) for name, each in value.items()}
    return [cut(each, levels - 1) for each in value]


def text_of(value: Any, chance: random.Random) -> str:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 0, 1]))
    return chance.choice(["", " ", "\n\t"]) + text + chance.choice(["", "\r\n"])


@pytest.mark.parametrize("seed", range(200))
def test_what_lies_deep_is_cut_and_nothing_else(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(strict_json, "LEVELS", levels := chance.randint(1, 4))
    value = a_value(chance, chance.randint(0, 14))
    whole, pieces = shallow(text_of(value, chance))
    assert json.loads(whole) == cut(value, levels)
    assert isinstance(json.loads(pieces), list)


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("seed", range(300))
def test_what_is_cut_is_json_only_if_the_whole_was(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter, bracket or comma too many or too few, anywhere."""
    chance = random.Random(seed)
    monkeypatch.setattr(strict_json, "LEVELS", chance.randint(1, 4))
    text = text_of(a_value(chance, chance.randint(2, 10)), chance)
    for _ in range(20):
        at = chance.randrange(len(text) + 1)
        put = chance.choice(["", "[", "]", "{", "}", ",", ":", '"', "\\", "0", " ", "x"])
        broken = text[:at] + put + text[at + chance.randint(0, 1) :]
        try:
            judged = all(map(is_json, shallow(broken)))
        except ValueError:
            judged = False
        assert judged == is_json(broken), broken


@pytest.mark.parametrize("levels", [900, 1_000, 2_000, 100_000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[1, {"[": ', "}\n]")])
def test_depth_alone_makes_no_text_bad_json(begin: str, end: str, levels: int) -> None:
    text = f"[{begin * levels}1{end * levels}, 2]"
    assert parsed(text.encode())[1] == 2
    for bad in (f"[{begin * levels},{end * levels}, 2]", text[:-1], text + "]", f"[{text}, NaN]"):
        with pytest.raises(ValueError, match=r"Expecting|Extra data|do not match|NaN"):
            parsed(bad.encode())
    deep = begin * levels + "NaN" + end * levels
    with pytest.raises(ValueError, match="NaN is not a JSON number"):
        parsed(deep.encode())


def test_a_whole_number_of_any_length_is_one() -> None:
    digits = "7" * 4_300
    found = parsed(f"[{digits}, -{digits}, {digits}7, -{digits}7, {digits}7.0e-4290]".encode())
    assert found[:2] == [int(digits), -int(digits)]
    assert found[2:4] == [math.inf, -math.inf]
    assert found[4] == pytest.approx(7.7777e10, rel=1e-3)


def test_a_name_that_stands_twice_is_the_callers_to_judge() -> None:
    text = b'{"a": [{"b": 1, "b": 2}]}'
    with pytest.raises(ValueError, match="stands twice"):
        parsed(text)
    found = parsed(text, Repeated)["a"][0]
    assert isinstance(found, Repeated)
    assert found == {"b": 2}
