"""A small registry of images over HTTP, as the distribution specification has it, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
TOKEN = "for-readers"
NAME, TAG = "library/thing", "1.2-bookworm"


def digest(content: bytes) -> str:
    return "sha256:" + sha256(content).hexdigest()


def described(kind: str, content: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(content), "size": len(content), **more}


def written(kind: str, **content: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": kind, **content}).encode()


PLATFORM = {"architecture": "amd64", "os": "linux"}
ROOTFS = {"type": "layers", "diff_ids": []}
CONTENT = json.dumps({**PLATFORM, "config": {}, "rootfs": ROOTFS}).encode()
ONE = written(MANIFEST, config=described(CONFIG, CONTENT), layers=[])
LIST = written(INDEX, manifests=[described(MANIFEST, ONE, platform=PLATFORM)])
PLACES = {
    f"/v2/{NAME}/manifests/{TAG}": (INDEX, LIST),
    f"/v2/{NAME}/manifests/{digest(ONE)}": (MANIFEST, ONE),
    f"/v2/{NAME}/manifests/{digest(LIST)}": (INDEX, LIST),
    f"/v2/{NAME}/blobs/{digest(CONTENT)}": ("application/octet-stream", CONTENT),
}


class Registry(BaseHTTPRequestHandler):
    """Asks for a token that it gives to anybody, and answers an index of one platform."""

    protocol_version = "HTTP/1.1"
    released: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        path, _, _ = self.path.partition("?")
        if path == "/token":
            return self.answer(200, "application/json", json.dumps({"token": TOKEN}).encode())
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer(401, "application/json", b"{}")
        if "silent" in path:
            self.released.wait(30)
        kind, content = PLACES.get(path, ("application/json", b""))
        if not content:
            unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return self.answer(404, kind, json.dumps(unknown).encode())
        return self.answer(200, kind, content)

    do_HEAD = do_GET

    def answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", digest(content))
        if status == 401:
            realm = f'realm="http://{self.headers["Host"]}/token",service="stand-in"'
            self.send_header("WWW-Authenticate", f"Bearer {realm}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def registry() -> Iterator[str]:
    """Yields where a registry listens."""
    Registry.released.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        Registry.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
