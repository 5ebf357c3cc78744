"""Rotation of the signing key, one step at a time, in the key file itself.

publish: a new key is added at the end, so that verifiers learn it before it signs.
sign: it moves to the front. retire: the others go, once their last token has expired.
A line before each key says since when it is published and since when it signs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from users_app.keys import PEM, key_ring, new_key_pem, signing_key

STEPS = ("publish", "sign", "retire")
# A verifier that meets an unknown key asks for the set again, at most once in this time.
PUBLISHED_BEFORE_SIGNING = timedelta(seconds=6)
NOTE = re.compile(r"# (published|signing) since (\S+)")


class RotationRefused(Exception):
    """The step can't be taken now; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class KeptKey:
    """One key of the file with what is known of its past."""

    pem: str
    published: datetime | None = None
    signing: datetime | None = None

    @property
    def kid(self) -> str:
        return signing_key(self.pem).kid


def rotate(
    path: Path, step: str | None, now: datetime, token_life: timedelta, *, at_once: bool
) -> tuple[str, list[str]]:
    """Takes the step, or the next one that is due; returns it and the kids now in the file.

    Raises RotationRefused when it comes too early, unless `at_once`.
    """
    keys = kept_keys(path.read_text(encoding="utf-8"))
    chosen = step or next_step(keys)
    if not at_once:
        refuse_early(chosen, keys, now, token_life)
    rotated = {"publish": publish, "sign": sign, "retire": retire}[chosen](keys, now)
    write(path, rotated)
    return chosen, [each.kid for each in rotated]


def kept_keys(text: str) -> list[KeptKey]:
    """Returns the keys of the file; raises RotationRefused if it holds none."""
    try:
        key_ring(text)
    except ValueError as error:
        raise RotationRefused(f"The key file {error}.") from None
    keys, end = [], 0
    for found in PEM.finditer(text):
        notes = dict(NOTE.findall(text[end : found.start()]))
        moments = {name: datetime.fromisoformat(moment) for name, moment in notes.items()}
        keys.append(KeptKey(found.group(), moments.get("published"), moments.get("signing")))
        end = found.end()
    return keys


def next_step(keys: list[KeptKey]) -> str:
    if len(keys) == 1:
        return "publish"
    return "retire" if keys[-1].signing else "sign"


def refuse_early(step: str, keys: list[KeptKey], now: datetime, token_life: timedelta) -> None:
    """Raises RotationRefused while somebody would still miss a key."""
    newest, signing = keys[-1], keys[0]
    if step == "sign" and newest.published:
        refuse_before(
            newest.published + PUBLISHED_BEFORE_SIGNING, now, "Verifiers must learn the new key"
        )
    if step == "retire" and signing.signing:
        refuse_before(signing.signing + token_life, now, "Tokens of the former key still hold")


def refuse_before(moment: datetime, now: datetime, why: str) -> None:
    if now < moment:
        raise RotationRefused(
            f"{why}: take the step after {moment:%H:%M:%S} UTC, or force it with --now."
        )


def publish(keys: list[KeptKey], now: datetime) -> list[KeptKey]:
    return [*keys, KeptKey(new_key_pem().strip(), published=now)]


def sign(keys: list[KeptKey], now: datetime) -> list[KeptKey]:
    if len(keys) == 1:
        raise RotationRefused("There is no second key: publish one first.")
    former = [replace(each, signing=each.signing or now) for each in keys[:-1]]
    return [replace(keys[-1], signing=now), *former]


def retire(keys: list[KeptKey], _now: datetime) -> list[KeptKey]:
    return keys[:1]


def write(path: Path, keys: list[KeptKey]) -> None:
    """Replaces the file in one step: a reader sees the old or the new one, whole."""
    part = path.with_name(f".{path.name}.new")
    part.touch(mode=0o600)
    part.write_text("".join(block(each) for each in keys), encoding="utf-8")
    os.replace(part, path)


def block(key: KeptKey) -> str:
    lines = []
    if key.published:
        lines.append(f"# published since {key.published.isoformat()}")
    if key.signing:
        lines.append(f"# signing since {key.signing.isoformat()}")
    return "\n".join([*lines, key.pem]) + "\n"
