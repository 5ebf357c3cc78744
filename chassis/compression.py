"""Answers over 1 KiB go out compressed, as the client accepts it (RFC 9110, 12.5.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, request
from flask_compress import Compress
from werkzeug.datastructures import Accept

CODINGS = ("br", "gzip")  # of two that are accepted alike the first is taken
ACCEPTED = "HTTP_ACCEPT_ENCODING"
LEAST_QUALITY = 0.001  # that can be written; nought is a no


class Compression(Compress):
    """Flask-Compress, which alone leaves errors as they are and takes `q=0` for a wish."""

    def after_request(self, response: Response) -> Response:  # type: ignore[override]
        """Returns the answer, compressed where it is long and the client accepts that."""
        failed = response.status if response.status_code >= 400 else None
        if failed:
            response.status_code = 200
        with asked_for(best(request.accept_encodings)):
            super().after_request(response)
        if failed:
            response.status = failed
        return response


@contextmanager
def asked_for(coding: str) -> Iterator[None]:
    """Has the request ask for one coding, or for none, and then for what it did."""
    before = request.environ.get(ACCEPTED)
    request.environ[ACCEPTED] = coding
    try:
        yield
    finally:
        request.environ.pop(ACCEPTED)
        if before is not None:
            request.environ[ACCEPTED] = before


def best(accepted: Accept) -> str:
    """Returns the coding that is accepted best; "" where it is best to leave the answer as it is.

    What is named itself is not meant by `*`, and `q=0` is a no.
    """
    coding = max(CODINGS, key=accepted.quality)
    plain = next((quality for name, quality in accepted if name.lower() == "identity"), 0)
    return coding if accepted.quality(coding) >= max(plain, LEAST_QUALITY) else ""


def install(app: Flask) -> None:
    """Compresses what the app answers, streams as they come."""
    app.config["COMPRESS_MIN_SIZE"] = 1024
    app.config["COMPRESS_ALGORITHM"] = app.config["COMPRESS_ALGORITHM_STREAMING"] = CODINGS
    app.config["COMPRESS_BR_LEVEL"] = 5
    app.config["COMPRESS_MIMETYPES"] = [
        "application/json",
        "application/problem+json",
        "application/x-ndjson",
        "text/csv",
        "text/html",
        "text/css",
        "text/javascript",
    ]
    Compression(app)
