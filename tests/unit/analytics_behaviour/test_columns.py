"""What goes into columns comes out of them, and sets are what Python's sets say."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics_app.behaviour import packing
from analytics_app.behaviour.funnel import Clock
from analytics_app.behaviour.sets import distinct, places

HASHES = st.integers(-(2**63), -1)
IDS = st.one_of(st.integers(1, 300), st.integers(1, 2**63 - 1))
ACTORS = st.lists(st.one_of(HASHES, st.just(0), IDS), max_size=40)


def array(values: list[int]) -> Any:
    return np.array(values, np.int64)


@given(ACTORS)
def test_actors_come_back(actors: list[int]) -> None:
    ordered = array(sorted(actors))
    data = packing.packed_actors(ordered)
    assert packing.unpacked_actors(data).tolist() == ordered.tolist()


@given(st.lists(st.integers(0, packing.DAY_US - 1)), st.integers(0, 60_000))
def test_times_come_back_to_the_microsecond(times: list[int], day: int) -> None:
    data = packing.packed_times(array(times))
    assert len(data) == 5 * len(times)
    expected = [day * packing.DAY_US + time for time in times]
    assert packing.unpacked_times(data, day).tolist() == expected


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=300), st.data())
def test_texts_come_back(texts: list[str], data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, len(texts) - 1)))
    found, words = packing.unpacked_codes(packing.packed_codes(array(codes), texts))
    assert (found.tolist(), words) == (codes, texts)


@given(st.one_of(ACTORS, st.lists(st.integers(1, 50))))
def test_distinct_is_the_sorted_set(values: list[int]) -> None:
    assert distinct(array(values)).tolist() == sorted(set(values))


@given(st.one_of(ACTORS, st.lists(st.integers(1, 50))), ACTORS)
def test_places_are_found_for_those_who_are_there(people: list[int], actors: list[int]) -> None:
    ordered = sorted(set(people))
    found, known = places(array(ordered), array(actors + people))
    for actor, place, is_there in zip(actors + people, found, known, strict=True):
        assert is_there == (actor in ordered)
        assert not is_there or ordered[place] == actor


@given(
    st.lists(st.integers(0, 2**55), min_size=1, max_size=20),
    st.sampled_from([1, 1_000, 2**21]),
)
def test_a_clocks_keys_order_by_person_and_time(times: list[int], people: int) -> None:
    clock = Clock(array(times), array(times[:1]), people)
    ranks = array([n % people for n in range(len(times))])
    keys = clock.keys(ranks, clock.events)
    back_times, back_ranks = clock.split(keys)
    assert back_times.tolist() == times
    assert back_ranks.tolist() == ranks.tolist()
    pairs = list(zip(ranks.tolist(), times, strict=True))
    order = np.argsort(keys, kind="stable").tolist()
    assert order == sorted(range(len(times)), key=lambda n: pairs[n])
