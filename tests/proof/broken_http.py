"""Broken and odd HTTP as bytes: for any app by its path, and around one event to store."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

HOST = b"Host: x\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"


def broken(path: str) -> dict[str, bytes]:
    """Returns requests that no server may take, all about one path."""
    return {name: raw.replace(b"/path", path.encode()) for name, raw in BROKEN.items()}


def smuggled(path: str) -> bytes:
    """Returns what hides a second request where a proxy reads the lengths otherwise."""
    return SMUGGLED.replace(b"/path", path.encode())


BROKEN = {
    "nothing but line ends": b"\r\n\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /path\r\n\r\n",
    "a version to come": b"GET /path HTTP/9.9\r\n" + HOST + b"\r\n",
    "a method that is none": b"G\x00T /path HTTP/1.1\r\n" + HOST + b"\r\n",
    "a made-up method": b"FROBNICATE /path HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the address": b"GET /path\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes above ASCII in the address": b"GET /path/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
    "broken percent signs": b"GET /path/%zz%00%c0%af HTTP/1.1\r\n" + HOST + b"\r\n",
    "dots that climb": b"GET /../../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address of 60 kB": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a header of 100 kB": b"GET /path HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "a thousand headers": b"GET /path HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    "a head without end": b"POST /path HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    "forty short headers and a bad one": b"POST /path HTTP/1.1\r\n" + b"a: b\r\n" * 40
    + b"a: \x80\r\nContent-Length: 9\r\n\r\n{",
    "a header without a name": b"GET /path HTTP/1.1\r\n: x\r\n" + HOST + b"\r\n",
    "a folded header": b"GET /path HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a space before the colon": b"POST /path HTTP/1.1\r\nContent-Length : 5\r\n" + HOST + b"\r\n",
    "a line end that is none": b"GET /path HTTP/1.1\n" + HOST + b"\r\n",
    "NUL in a header": b"GET /path HTTP/1.1\r\nX: a\x00b\r\n" + HOST + b"\r\n",
    "two hosts": b"GET /path HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a length that is none": b"POST /path HTTP/1.1\r\nContent-Length: -1\r\n" + JSON + b"\r\n{}",
    "a length in hex": b"POST /path HTTP/1.1\r\nContent-Length: 0x2\r\n" + JSON + b"\r\n{}",
    "a length beyond all": b"POST /path HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
    "a length of 5,000 digits": b"POST /path HTTP/1.1\r\nContent-Length: " + b"9" * 5000
    + b"\r\n\r\n",
    "two lengths": b"POST /path HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n"
    + JSON + b"\r\n{} ",
    "a length and chunks": b"POST /path HTTP/1.1\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n" + JSON + b"\r\n0\r\n\r\n",
    "chunked twice": b"POST /path HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n"
    + JSON + b"\r\n0\r\n\r\n",
    "an encoding nobody knows": b"POST /path HTTP/1.1\r\nTransfer-Encoding: x\r\n"
    + JSON + b"\r\n",
    "a chunk size that is none": b"POST /path HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    + JSON + b"\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk size beyond all": b"POST /path HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    + JSON + b"\r\n" + b"f" * 40 + b"\r\n{}",
    "half a body": b"POST /path HTTP/1.1\r\nContent-Length: 100\r\n" + JSON + b"\r\n{",
    "half a header": b"GET /path HTTP/1.1\r\nHost: x\r\nX-Half",
    # gunicorn reads these into the WSGI environment for peers that it trusts.
    "a script's name": b"GET /path HTTP/1.1\r\nSCRIPT_NAME: /elsewhere\r\n" + HOST + b"\r\n",
    "a path beside the address": b"GET /path HTTP/1.1\r\nPATH_INFO: /health/live\r\n"
    + HOST + b"\r\n",
    "two schemes": b"GET /path HTTP/1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n"
    + HOST + b"\r\n",
    "a host that is none": b"GET /path HTTP/1.1\r\nHost: a b/c?\r\n\r\n",
    "a host above ASCII": b"GET /path HTTP/1.1\r\nHost: \xe9\xff\r\n\r\n",
    "half an address as host": b"GET /path HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a port beyond all": b"GET /path HTTP/1.1\r\nHost: x:99999999\r\n\r\n",
}  # fmt: skip
SMUGGLED = (
    b"POST /path HTTP/1.1\r\n" + JSON + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nGET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
)

# One request that stores an event, and what is changed about it.
START = b"POST /analytics/events HTTP/1.1\r\n"
Change = Callable[[bytes], bytes]


def event_request(key: str) -> bytes:
    """Returns a whole request that stores a new event."""
    event = {"event_type": "a", "event_id": str(uuid.uuid4()), "created_at": "2026-05-01T10:00:00Z"}
    return request(key, json.dumps(event).encode())


def request(key: str, body: bytes) -> bytes:
    """Returns a whole request with any body."""
    head = f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    return START + JSON + head.encode() + body


def with_fields(fields: bytes) -> Change:
    """Adds header lines before all others."""
    return lambda raw: raw.replace(START, START + fields, 1)


def instead(old: bytes, new: bytes) -> Change:
    """Puts something else in the place of a part of the request."""
    return lambda raw: raw.replace(old, new, 1)


def bearer(form: bytes) -> Change:
    """Writes the credential in another form; `@` stands for the key."""

    def change(raw: bytes) -> bytes:
        head, _, rest = raw.partition(b"Bearer ")
        key, _, rest = rest.partition(b"\r\n")
        return head + form.replace(b"@", key) + b"\r\n" + rest

    return change


def length(form: bytes) -> Change:
    """Writes the body's length in another form; `@` stands for the number."""

    def change(raw: bytes) -> bytes:
        head, _, rest = raw.partition(b"Content-Length: ")
        number, _, rest = rest.partition(b"\r\n")
        return head + form.replace(b"@", number) + b"\r\n" + rest

    return change


FIELDS = [
    b"a: b\r\n" * 40 + b"a: \x80\r\n", b"a: b\r\n" * 66, b"X-Odd: \x80\r\n", b"X-Odd: \x7f\r\n",
    *(b"".join(b"X-%d: y\r\n" % n for n in range(count)) for count in (27, 28, 29, 59, 60, 61, 66)),
    b"X-Odd: a\tb\r\n", b"X-Odd: a\x00b\r\n", b"X-Odd:\r\n", b"X-Odd:a\r\n", b"X-Odd: a\r\n b\r\n",
    b"X-Odd : a\r\n", b" X-Odd: a\r\n", b"X Odd: a\r\n", b": a\r\n", b"X-Odd\r\n", b"X_Odd: a\r\n",
    b"X-Odd: a\n", b"X-Odd: a\r", b"\r\n", b"X-Odd: a\nContent-Length: 5\r\n", b"X\xe9: a\r\n",
    b"SCRIPT_NAME: /x\r\n", b"PATH_INFO: /health\r\n", b"Script-Name: /x\r\n", b"Proxy: x\r\n",
    b"Host: y\r\n", b"Content-Type: text/plain\r\n", b"Content-Type: application/json\r\n",
    b"Content-Length: 3\r\n", b"CONTENT-LENGTH: 3\r\n", b"Content_Length: 3\r\n",
    b"Authorization: Bearer other\r\n", b"X-Request-ID: a\r\nX-Request-ID: b\r\n",
    b"X-Request-ID: \xff\r\n", b"X-Request-ID: " + b"a" * 65 + b"\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Expect: 100-continue\r\n", b"Expect: wonders\r\n", b"Upgrade: h2c\r\n", b"TE: trailers\r\n",
    b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Connection: keep-alive, x\r\n",
    b"X-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n", b"X-Forwarded-For: 1.2.3.4\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: x\r\n", b"Content-Encoding: \r\n",
    b"Origin: https://a.example\r\n", b"Cookie: " + b"a=b; " * 200 + b"\r\n",
    b"Accept: nothing/known\r\n", b"X: " + b"a" * 7000 + b"\r\n", b"X: " + b"a" * 8188 + b"\r\n",
]  # fmt: skip
BEARERS = [
    b"@", b"bearer @", b"BEARER @", b"Bearer  @", b"Bearer\t@", b"Bearer @ ", b"Bearer @ x", b"",
    b"Bearer", b"Bearer ", b"Basic @", b"Token @", b"Bearer: @", b"Bearer, @", b"Bearer @,Bearer @",
    b"Bearer \x80@", b"Bearer @\x80", b", ,", b"Bearer a.b.c", b"Bearer ..", b"Bearer Bearer @",
]  # fmt: skip
LENGTHS = [
    b"Content-Length:@", b"content-length: @", b"CONTENT-LENGTH: @", b"Content-Length: 0@",
    b"Content-Length: +@", b"Content-Length: -@", b"Content-Length: 0x@", b"Content-Length: @, @",
    b"Content-Length:  @", b"Content-Length: @ ", b"Content-Length: ", b"Content-Length: 1",
    b"Content-Length: \xb2", b"Content-Length: 1_0", b"Content-Length: 0", b"Content-Length: 9@",
    b"Content-Length: " + b"9" * 5000, b"X-Length: @",
]  # fmt: skip
HOSTS = [b"", b"Host:", b"Host: a b", b"Host: x/y", b"Host: \xe9", b"Host: [::1", b"Host: x:y",
         b"Host: x:99999999", b"Host: " + b"a" * 500, b"Host: x, y", b"HOST: X"]  # fmt: skip
KINDS = [b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/json;", b"",
         b"text/plain", b"application/json, text/plain", b"application/json\x80"]  # fmt: skip
STARTS = [b"POST /analytics/events HTTP/1.0", b"post /analytics/events HTTP/1.1",
          b"POST /analytics/events?a=1 HTTP/1.1", b"POST //analytics/events HTTP/1.1",
          b"POST /analytics%2Fevents HTTP/1.1", b"POST /analytics/events/ HTTP/1.1",
          b"POST http://x/analytics/events HTTP/1.1", b"POST  /analytics/events HTTP/1.1",
          b"PUT /analytics/events HTTP/1.1", b"POST /analytics/events HTTP/1.1 "]  # fmt: skip
BODIES = [
    b"", b" ", b"{", b"null", b"[]", b"5", b"{}", b"[" * 400, b'{"a":' * 100, b'{"event_type":NaN}',
    b'{"event_type":"a","event_type":"b"}', '{"event_type":"a"}'.encode("utf-16"), b"\xff\xfe",
    b'\xef\xbb\xbf{"event_type":"a"}', b'{"event_type":"\xff"}', b'{"event_type":"\\ud800"}',
    b'{"event_type":"a","user_id":1e400}', b'{"event_type":"a","metadata":{"n":' + b"9" * 400
    + b"}}", b'{"event_type":"a\x00"}', b'{"event_type":"a","extra":1}', b'{"event_type":"a"} ',
    b'{"event_type":"a"}{}', b'{"event_type":"a","user_id":true}', b'{"event_type":1}',
    b'{"event_type":"a","user_id":9223372036854775807}', b'{"event_type":"a","user_id":1.0}',
    b'{"event_type":"a","event_id":"x"}', b'{"event_type":"a","created_at":"2026-02-30T00:00:00Z"}',
    b'{"event_type":"user_logged_in","user_id":3}', b'{"event_type":"a","visitor_id":""}',
]  # fmt: skip


def odd_events(key: str) -> dict[str, bytes]:
    """Returns requests to store an event that are odd in one way each."""
    changes: dict[str, Change] = {"as it should be": lambda raw: raw}
    changes |= {f"with {fields[:60]!r}": with_fields(fields) for fields in FIELDS}
    changes |= {f"authorised {form!r}": bearer(form) for form in BEARERS}
    changes |= {f"of length {form[:40]!r}": length(form) for form in LENGTHS}
    changes |= {f"to {host[:40]!r}": instead(b"Host: x", host) for host in HOSTS}
    changes |= {f"as {kind!r}": instead(b"application/json", kind) for kind in KINDS}
    changes |= {f"begun {start!r}": instead(START[:-2], start) for start in STARTS}
    odd = {name: change(event_request(key)) for name, change in changes.items()}
    return odd | {f"holding {body[:40]!r}": request(key, body) for body in BODIES}
