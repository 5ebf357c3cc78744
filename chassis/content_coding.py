"""Bodies as they were before the sender compressed them (RFC 9110, 8.4), of all three apps."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from typing import IO

import flask
from flask import current_app

from chassis.errors import BadRequest, TooLarge, UnsupportedMediaType

GZIP = ("gzip", "x-gzip")
WITH_GZIP_HEAD = 16 + zlib.MAX_WBITS
PIECE_BYTES = 16 * 1024
# What compresses in pieces makes a member of each 64 KiB or more: far fewer for a body.
MAX_MEMBERS = 1_000


class Request(flask.Request):
    """A request whose body is read as it was before it was compressed.

    The app's limit on bodies holds for what is sent and for what comes out of it.
    """

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, decoded.

        Raises UnsupportedMediaType for any coding but gzip, BadRequest where the body isn't
        what it says, and TooLarge as soon as more than the limit is sent or comes out.
        """
        codings = codings_of(self.headers.get("Content-Encoding", ""))
        if codings and (len(codings) > 1 or codings[0] not in GZIP):
            raise UnsupportedMediaType(
                "Send the body as it is, or with Content-Encoding: gzip.",
                headers={"Accept-Encoding": "gzip"},
            )
        limit = current_app.config["MAX_FORM_MEMORY_SIZE"]
        sent = super().stream
        if codings:
            return BytesIO(decoded(sent, limit))
        # One whose length isn't said is cut off at the limit without a word by Werkzeug alone.
        return BytesIO(b"".join(pieces(sent, limit))) if self.content_length is None else sent


def codings_of(header: str) -> list[str]:
    """Returns the codings that were applied, but for `identity`, which is none."""
    named = (each.strip().lower() for each in header.split(","))
    return [each for each in named if each not in ("", "identity")]


def decoded(sent: IO[bytes], limit: int) -> bytes:
    """Returns what the gzip members hold; nothing for nothing.

    Raises BadRequest and TooLarge; inflates no more than one byte over the limit.
    """
    whole = bytearray()
    members = 0
    member = None
    for piece in pieces(sent, limit):
        rest = piece
        while rest:
            if member is None:
                members += 1
                if members > MAX_MEMBERS:
                    raise BadRequest(f"The body has more than {MAX_MEMBERS:,} gzip members.")
                member = zlib.decompressobj(WITH_GZIP_HEAD)
            whole += inflated(member, rest, limit + 1 - len(whole))
            if len(whole) > limit:
                raise TooLarge(f"Decoded, the body is over the limit of {limit:,} bytes.")
            rest = member.unused_data
            if member.eof:
                member = None
    if member is not None:
        raise BadRequest("The body ends before its gzip data does.")
    return bytes(whole)


def pieces(sent: IO[bytes], limit: int) -> Iterator[bytes]:
    """Yields what is sent; raises TooLarge where that is more than the limit."""
    read = 0
    while piece := sent.read(PIECE_BYTES):
        read += len(piece)
        if read > limit:
            raise TooLarge("The body is over the limit.")
        yield piece


def inflated(member: zlib._Decompress, piece: bytes, most: int) -> bytes:
    try:
        return member.decompress(piece, most)
    except zlib.error:
        raise BadRequest("The body is not what its Content-Encoding says: gzip.") from None
