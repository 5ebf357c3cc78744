"""Answers kept for a moment, so that many viewers cost the services one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")
LARGEST = 256


class ShortCache(Generic[Value]):
    """Keeps values by key for some seconds, in this process; safe between threads."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.values: dict[str, tuple[float, Value]] = {}
        self.lock = Lock()

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        """Returns the kept value, or what `make` returns now."""
        now = time.monotonic()
        kept = self.values.get(key)
        if kept and kept[0] > now:
            return kept[1]
        value = make()
        with self.lock:
            if len(self.values) >= LARGEST:
                self.values.clear()
            self.values[key] = (now + self.seconds, value)
        return value
