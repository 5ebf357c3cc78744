"""JSON text -> values, by the grammar alone: neither size nor depth makes a text none.

What the grammar allows and no route takes comes out so that whoever reads the values can say
so: a whole number of thousands of digits as an infinity, what lies thousands of levels deep
as 0 some dozens of levels down, an object with a name that stands twice as what the caller
makes of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

LEVELS = 64
OPEN, CLOSE = 1, 2
ESCAPES = re.compile(r"\\.", re.DOTALL)
# Up to a hundred pieces that change no level, then one or more brackets that open (but no empty
# pair) or close. It matches wherever it is tried and gives back next to nothing, so that what
# can't be read costs no more than what can. The quote of a text without an end stands in no
# piece: wherever it comes to lie, it is alone there, and refused. No group is possessive: until
# Python 3.11.5 such a group takes what it should not.
BRACKETS = re.compile(
    r"""(?:[^"\[\]{}]++|"[^"]*+"|\[\]|\{\}){0,100}"""
    r"""(?:([\[{]*(?:\[(?!\])|\{(?!\})))|([\]}]++))?"""
)


Members = dict[str, Any]


class Repeated(Members):
    """An object in which a name stood twice; the last of its values is kept."""


def refuse_repeated(_members: Members) -> Members:
    raise ValueError("a name stands twice in one object")


def parsed(data: bytes, repeated: Callable[[Members], Members] = refuse_repeated) -> Any:
    """Returns the value; raises ValueError, with the reason, for what is no JSON in UTF-8.

    An object in which a name stands twice is `repeated` of its last members.
    """

    def members(pairs: list[tuple[str, Any]]) -> Members:
        found = dict(pairs)
        return found if len(found) == len(pairs) else repeated(found)

    read = partial(
        json.loads, object_pairs_hook=members, parse_int=whole_number, parse_constant=refuse
    )
    text = data.decode("utf-8")
    try:
        return read(text)
    except RecursionError:
        whole, pieces = shallow(text)
        read(pieces)
        return read(whole)


def whole_number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python reads no more than 4,300
        return -math.inf if digits.startswith("-") else math.inf


def refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def shallow(text: str) -> tuple[str, str]:
    """Returns the text with a 0 for what lies deeper than 64 levels, and a list of the latter.

    In the list stands what was left out, in pieces of so many levels each: where both can be
    read, the text is JSON, and that costs in proportion to its length however deep it is.
    """
    kept: list[list[str]] = [[]]
    pieces: list[str] = []
    depth = since = 0
    for brackets in BRACKETS.finditer(ESCAPES.sub("__", text)):
        kind = brackets.lastindex
        start, end = brackets.span(kind or 0)
        if kind == OPEN:
            for level in range(max(LEVELS, rounded_up(depth)), depth + end - start, LEVELS):
                place = start + level - depth
                kept[-1] += text[since:place], "0"
                kept.append([])
                since = place
            depth += end - start
        elif kind == CLOSE:
            after = depth - (end - start)
            for level in range(rounded_up(depth) - LEVELS, max(after, 1) - 1, -LEVELS):
                place = start + depth - level
                pieces.append("".join([*kept.pop(), text[since:place]]))
                since = place
            depth = after
            if depth < 0:
                break
    if depth:
        raise ValueError("its brackets do not match")
    return "".join([*kept[0], text[since:]]), f"[{','.join(pieces)}]"


def rounded_up(depth: int) -> int:
    return -(-depth // LEVELS) * LEVELS
