"""Names: no character in them that nobody sees or that turns the line around."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.users.conftest import Person, register
from users_app import names

INVISIBLE = [
    "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u180b", "\u180e", "\u200b",
    "\u200c", "\u200d", "\u200e", "\u202a", "\u202e", "\u2060", "\u2066", "\u2069", "\u3164",
    "\ufe00", "\ufe0f", "\ufeff", "\uffa0", "\ufff0", "\U0001bca0", "\U0001d173", "\U000e0001",
    "\U000e0041", "\U000e0100", "\u2800", "\U00016fe4",
]  # fmt: skip


def complaints(answer: Any) -> list[str]:
    assert answer.status_code == 422
    return [each["field"] for each in answer.get_json()["errors"]]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_a_username_holds_nothing_invisible(client: FlaskClient, character: str) -> None:
    for name in (f"ro{character}ot0", f"root{character}", f"{character}root"):
        answer = register(client, name, email="x@example.com", password="a b c d e f g")
        assert complaints(answer) == ["username"]


def test_changes_of_names_are_held_to_the_same(admin: Person, ada: Person) -> None:
    for change in ({"username": "ro\u034fot0"}, {"full_name": "ro\u034fot0"}):
        refused = admin.call("PATCH", f"/users/{ada.id}", json=change)
        assert complaints(refused) == list(change)


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_a_full_name_holds_nothing_invisible_alone_or_at_its_edges(character: str) -> None:
    for name in (character, f"{character}Ada", f"Ada {character}Lovelace", f"A {character} B"):
        with pytest.raises(ValueError, match="invisible"):
            names.full_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "Ada\u200b Lovelace", "Ada\u200d", "Ada\u200c Lovelace", "Ada\u200d\u200dL",
        "A\u200c\u200cB", "Ada\ufe0f\ufe0f", "A\u3164B", "A\u202eB",
        "A\U000e0041B", "A\u180eB", "A\u2800B",
    ],
)  # fmt: skip
def test_a_full_name_holds_none_that_shapes_no_word(name: str) -> None:
    with pytest.raises(ValueError, match="invisible"):
        names.full_name(name)


@pytest.mark.parametrize("name", ["Ada\u2028Lovelace", "Ada\u2029", "Ada\n", "\x7f", "A\x85B"])
def test_a_full_name_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="control"):
        names.full_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace", "O'Neill-Ōtomo 3rd", "علی‌رضا محمدی", "क्‍ष शर्मा", "നന്ദന്‍", "ශ්‍රී ලාල්",
        "Ada 👩‍💻", "Ada ❤️", "👁️‍🗨️", "葛\U000e0100飾", "Ма́ша", "ᠬᠤᠯᠠᠨ\u180b", "Ada 🏳️‍🌈 L",
    ],
)  # fmt: skip
def test_words_of_all_scripts_and_emoji_are_full_names(client: FlaskClient, name: str) -> None:
    answer = register(client, "ada", full_name=name)
    assert answer.get_json()["full_name"] == name


def test_the_table_is_unicodes_own() -> None:
    regex = pytest.importorskip("regex")
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    theirs = set(regex.findall(r"[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}]", everything))
    assert set(names.INVISIBLE.findall(everything)) == theirs | {"\u2800", "\U00016fe4"}
    selectors = set(regex.findall(r"\p{Variation_Selector}", everything))
    assert set(names.VARIATION_SELECTOR.findall(everything)) == selectors
