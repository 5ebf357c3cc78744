"""What nobody means well with: values for a field, bodies that don't parse, ids that are none."""

from __future__ import annotations

from typing import Any

VALUES: list[Any] = [
    "\x00", "a\x00b", "\ud800", "\udfff@example.com", "\x1b[2J", "\u202e\n", "", " ", "𝕏" * 5000,
    2**63, -(2**63) - 1, 10**400, 1.5, True, None, [], ["a"], {}, {"a": {"b": 1}}, [[[[]]]],
]  # fmt: skip

UNPARSABLE = [
    b" ", b"{", b"null", b"[]", b"5", b'"text"', b"[" * 60_000, b'{"a":' * 12_000,
    b'{"username": NaN}', b'{"username": Infinity}', b'{"a": 1, "a": 2}',
    '{"username": "x"}'.encode("utf-16"), b"\xff\xfe", b'{"a": "\xff"}', b"\x00",
]  # fmt: skip

NO_IDS = ["0", "-1", "1.5", "9" * 20, "9" * 5000, str(2**63), "²", "%00", "1%00", "me%00", "٣", "x"]

# As a query string carries them.
TEXTS = ["", "%00", "a%00b", "%ED%A0%80", "%FF", "%E2%80%AE", "%1B[2J", "é", "x" * 3000, "9" * 400,
         "-1", "1e400", "NaN", "0001-01-01", "9999-12-31", "2026-02-30", "10000-01-01",
         "2026-11-23T00:00:00", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-12:00",
         "../../etc/passwd", "Asia/../UTC", "[]", "{}", "' OR 1=1 --"]  # fmt: skip
