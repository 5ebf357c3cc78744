"""Signing keys, and their rotation in the key file."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from users_app.key_file import RotationRefused, rotate
from users_app.keys import key_ring, new_key_pem

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LIFE = timedelta(minutes=15)


def pem_of(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    form = PrivateFormat.TraditionalOpenSSL
    return private.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ],
    ids=["empty", "nonsense", "broken", "another curve", "RSA"],
)  # fmt: skip
def test_what_can_not_sign_es256_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must hold|can't be read"):
        key_ring(text)


def test_both_pem_forms_and_escaped_newlines_are_read() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    form = PrivateFormat.PKCS8
    modern = private.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    traditional = pem_of(private)
    assert "EC PRIVATE KEY" in traditional
    escaped = traditional.replace("\n", "\\n")
    assert len({key_ring(each).signing.kid for each in (modern, traditional, escaped)}) == 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "keys.pem"
    made.write_text(new_key_pem())
    made.chmod(0o600)
    return made


def kids(path: Path) -> list[str]:
    return [each.kid for each in key_ring(path.read_text()).keys]


def test_a_rotation_publishes_then_signs_then_retires(path: Path) -> None:
    (old,) = kids(path)
    moment = NOW
    assert rotate(path, None, moment, LIFE, at_once=False)[0] == "publish"
    first, new = kids(path)
    assert first == old, "the old key signs on until every verifier knows the new one"
    moment += timedelta(seconds=6)
    assert rotate(path, None, moment, LIFE, at_once=False)[0] == "sign"
    assert kids(path) == [new, old], "tokens of the old key stay good"
    moment += LIFE
    assert rotate(path, None, moment, LIFE, at_once=False)[0] == "retire"
    assert kids(path) == [new]
    assert rotate(path, None, moment, LIFE, at_once=False)[0] == "publish", "and round again"


@pytest.mark.parametrize(("steps", "early"), [(1, timedelta(seconds=5)), (2, LIFE / 2)])
def test_a_step_that_would_lose_requests_is_refused(
    path: Path, steps: int, early: timedelta
) -> None:
    moment = NOW
    for _ in range(steps):
        rotate(path, None, moment, LIFE, at_once=True)
    before = path.read_text()
    with pytest.raises(RotationRefused, match="--now"):
        rotate(path, None, moment + early, LIFE, at_once=False)
    assert path.read_text() == before
    rotate(path, None, moment + early, LIFE, at_once=True)
    assert path.read_text() != before


def test_a_second_key_must_be_there_before_it_signs(path: Path) -> None:
    with pytest.raises(RotationRefused, match="publish one first"):
        rotate(path, "sign", NOW, LIFE, at_once=False)


def test_a_file_without_keys_is_left_as_it_is(path: Path) -> None:
    path.write_text("notes")
    with pytest.raises(RotationRefused):
        rotate(path, None, NOW, LIFE, at_once=False)
    assert path.read_text() == "notes"


def test_the_rewritten_file_is_for_its_owner_only(path: Path) -> None:
    rotate(path, None, NOW, LIFE, at_once=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["keys.pem"]
