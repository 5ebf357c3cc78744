"""Values of metadata keys: kept as JSON texts, compared and shown as the text they spell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json, to_json

from analytics_app.behaviour.numbers import LARGEST

LONGEST_KEY = 200

KINDS = {'"': "string", "{": "object", "[": "list", "t": "boolean", "f": "boolean"}


def properties(metadata: str, keys: Iterable[str] | None = None) -> dict[str, str]:
    """Returns the JSON text of each top-level value, or of those with these keys.

    null is no value, and longer keys are left out.
    """
    found: dict[str, Any] = from_json(metadata)
    return {
        key: to_json(value).decode()
        for key in (found if keys is None else keys)
        if (value := found.get(key)) is not None and len(key) <= LONGEST_KEY
    }


def spelled(text: str) -> str:
    """Returns the value as text: a string without its quotes, anything else as JSON."""
    return json.loads(text) if text.startswith('"') else text


def kind_of(text: str) -> str:
    """Returns which kind of value the JSON text holds."""
    return KINDS.get(text[0], "number")


def number_of(text: str) -> float | None:
    """Returns the double next to the number that the JSON text holds; None for any other value.

    A whole number beyond all doubles is the largest of them; -0.0 is 0.0.
    """
    if not text or kind_of(text) != "number":
        return None
    return min(max(float(text), -LARGEST), LARGEST) + 0.0
