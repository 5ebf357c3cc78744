"""The keys that sign tokens: loaded once, the first signs, all are published."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One P-256 key; `kid` is its RFC 7638 thumbprint."""

    kid: str
    private: ec.EllipticCurvePrivateKey
    public: ec.EllipticCurvePublicKey
    jwk: dict[str, str]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys in force, the signing one first."""

    keys: tuple[SigningKey, ...]

    @property
    def signing(self) -> SigningKey:
        """The key that new tokens are signed with."""
        return self.keys[0]

    def key(self, kid: str) -> ec.EllipticCurvePublicKey | None:
        """Returns the public key of that id, or None."""
        return next((each.public for each in self.keys if each.kid == kid), None)

    def jwks(self) -> dict[str, Any]:
        """Returns the public keys as an RFC 7517 set."""
        return {"keys": [each.jwk for each in self.keys]}


def key_ring(pem: str) -> KeyRing:
    """Returns the keys of one or several PEM blocks; raises ValueError in plain words."""
    blocks = [found.group() for found in PEM.finditer(pem.replace("\\n", "\n"))]
    if not blocks:
        raise ValueError("must hold a PEM private key; `make run` writes one under var/")
    return KeyRing(tuple(signing_key(block) for block in blocks))


def signing_key(pem: str) -> SigningKey:
    """Returns the key of one PEM block; raises ValueError unless it is on P-256."""
    try:
        private = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("holds a PEM block that can't be read as a private key") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise ValueError("must hold P-256 keys only (ES256)")
    return of_private(private)


def of_private(private: ec.EllipticCurvePrivateKey) -> SigningKey:
    public = private.public_key()
    numbers = public.public_numbers()
    jwk = {"crv": "P-256", "kty": "EC", "x": coordinate(numbers.x), "y": coordinate(numbers.y)}
    thumbprint = hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode())
    kid = base64url(thumbprint.digest())
    return SigningKey(kid, private, public, {**jwk, "kid": kid, "use": "sig", "alg": "ES256"})


def new_key_pem() -> str:
    """Returns a new P-256 private key as a PEM block."""
    private = ec.generate_private_key(ec.SECP256R1())
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def coordinate(number: int) -> str:
    return base64url(number.to_bytes(32, "big"))


def base64url(octets: bytes) -> str:
    """Returns the octets in base64url without padding."""
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
