"""Columns of one day <-> bytes: small, exact, and read back by numpy at once."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Data = bytes | memoryview

DAY_US = 86_400_000_000
HEAD = struct.Struct("<IIq")
SMALL = ("<u1", "<u2", "<u4")


def packed(values: Array) -> bytes:
    """Returns whole numbers in the narrowest kind that holds them, its number first."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    for number, kind in enumerate(SMALL):
        if low >= 0 and high <= np.iinfo(kind).max:
            return bytes([number]) + values.astype(kind).tobytes()
    return bytes([len(SMALL)]) + values.astype("<i8").tobytes()


def unpacked(data: Data) -> Array:
    """Returns what `packed` was given, in its narrow kind."""
    kind = (*SMALL, "<i8")[data[0]]
    return np.frombuffer(data, kind, offset=1)


def packed_actors(actors: Array) -> bytes:
    """Returns ascending actors: visitors' hashes as they are, users by their distances."""
    hashed = int(np.searchsorted(actors, 1))
    users = actors[hashed:]
    first = int(users[0]) if len(users) else 0
    head = HEAD.pack(hashed, len(users), first)
    return head + actors[:hashed].astype("<i8").tobytes() + packed(np.diff(users))


def unpacked_actors(data: Data) -> Array:
    """Returns what `packed_actors` was given, as int64."""
    hashed, users, first = HEAD.unpack_from(data)
    found = np.empty(hashed + users, np.int64)
    found[:hashed] = np.frombuffer(data, "<i8", hashed, HEAD.size)
    if users:
        found[hashed] = first
        found[hashed + 1 :] = unpacked(data[HEAD.size + 8 * hashed :])
        np.cumsum(found[hashed:], out=found[hashed:])
    return found


def packed_times(times: Array) -> bytes:
    """Returns microseconds since midnight in five bytes each."""
    return (times & 0xFFFFFFFF).astype("<u4").tobytes() + (times >> 32).astype("<u1").tobytes()


def unpacked_times(data: Data, day: int) -> Array:
    """Returns the microseconds since 1970 of times within the UTC day."""
    n = len(data) // 5
    times = np.frombuffer(data, "<u1", n, 4 * n).astype(np.int64)
    times <<= 32
    times += np.frombuffer(data, "<u4", n)
    times += day * DAY_US
    return times


def packed_texts(texts: Sequence[str]) -> bytes:
    return zlib.compress(json.dumps(texts, ensure_ascii=False).encode(), 1)


def unpacked_texts(data: Data) -> list[str]:
    found: list[str] = json.loads(zlib.decompress(data))
    return found


def packed_codes(codes: Array, texts: Sequence[str]) -> bytes:
    """Returns dictionary-coded texts: `texts[codes[n]]` is the n-th."""
    words = packed_texts(texts)
    return len(words).to_bytes(4, "little") + words + packed(codes)


def unpacked_codes(data: Data) -> tuple[Array, list[str]]:
    """Returns the codes and the texts that `packed_codes` was given."""
    end = 4 + int.from_bytes(data[:4], "little")
    return unpacked(data[end:]), unpacked_texts(data[4:end])


def packed_quarters(low: Array, high: Array) -> bytes:
    """Returns the 96 bits of each actor's quarters; most are zero."""
    return zlib.compress(low.astype("<i8").tobytes() + high.astype("<i8").tobytes(), 1)


def unpacked_quarters(data: Data) -> tuple[Array, Array]:
    both = np.frombuffer(zlib.decompress(data), "<i8")
    return both[: len(both) // 2], both[len(both) // 2 :]
