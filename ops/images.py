"""Every foreign image that this tree names; pins each tag to the digest that it has now.

    python -m ops.images [--unpin]

A registry is asked by the first of crane, skopeo and docker that is installed: they know where an
image is and how to sign in there. The digest is that of the index, good for every platform.
Nothing is written unless every image has one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("Dockerfile", "compose.yaml", "kustomize/**/*.yaml")
IMAGES = (
    "caddy:2.11",
    "citusdata/citus:13.0",
    "grafana/grafana:12.0.1",
    "jaegertracing/jaeger:2.6.0",
    "nginxinc/nginx-unprivileged:1.28",
    "node:22-bookworm-slim",
    "postgres:18-bookworm",
    "prom/alertmanager:v0.28.1",
    "prom/blackbox-exporter:v0.27.0",
    "prom/node-exporter:v1.9.1",
    "prom/prometheus:v3.4.0",
    "python:3.13-slim-bookworm",
    "valkey/valkey:8.1",
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PATIENCE_SECONDS = 60
# Each prints the digest and nothing else.
TOOLS: dict[str, Callable[[str], list[str]]] = {
    "crane": lambda image: ["digest", image],
    "skopeo": lambda image: ["inspect", "--no-tags", "--format", "{{.Digest}}", f"docker://{image}"],
    "docker": lambda image: [
        "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", image,
    ],
}  # fmt: skip


class Unavailable(Exception):
    """A digest can't be had; the text says why."""


def main() -> int:
    try:
        digests = {} if "--unpin" in sys.argv[1:] else digests_of(IMAGES)
    except Unavailable as error:
        print(f"footfall: no image was pinned: {error}", file=sys.stderr)
        return 1
    changed = write(ROOT, digests)
    print(f"{len(digests)} images pinned, {len(changed)} files changed.")
    return 0


def digests_of(images: tuple[str, ...]) -> dict[str, str]:
    """Returns the digest of each image; raises Unavailable if one has none."""
    tool = next((name for name in TOOLS if shutil.which(name)), None)
    if tool is None:
        raise Unavailable(f"none of {', '.join(TOOLS)} is installed to ask a registry with.")
    return {image: digest_of(tool, image) for image in images}


def digest_of(tool: str, image: str) -> str:
    """Returns what the registry says of one image; raises Unavailable."""
    try:
        done = subprocess.run(
            [tool, *TOOLS[tool](image)], check=False, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{tool} got no answer about {image} in time.") from None
    except OSError as error:
        raise Unavailable(f"{tool} can't be run: {error.strerror}.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise Unavailable(f"{tool} has no digest of {image}: {reason}")
    digest = done.stdout.strip()
    if not DIGEST.fullmatch(digest):
        raise Unavailable(f"{tool} answered no digest for {image}, but {digest[:80]!r}.")
    return digest


def write(root: Path, digests: dict[str, str]) -> list[Path]:
    """Puts the digests behind the tags, or takes away those of images that have none here.

    Returns the files that changed.
    """
    texts = {path: pinned(path.read_text(), digests) for path in files(root)}
    changed = [path for path, text in texts.items() if path.read_text() != text]
    for path in changed:
        path.write_text(texts[path])
    return changed


def files(root: Path) -> Iterator[Path]:
    for pattern in FILES:
        yield from sorted(root.glob(pattern))


def pinned(text: str, digests: dict[str, str]) -> str:
    for image in IMAGES:
        reference = rf"(?<![\w./]){re.escape(image)}(?:@{DIGEST.pattern})?(?![\w.@-])"
        digest = digests.get(image)
        text = re.sub(reference, f"{image}@{digest}" if digest else image, text)
    return text


if __name__ == "__main__":
    sys.exit(main())
