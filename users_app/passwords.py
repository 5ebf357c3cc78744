"""Passwords: which are accepted, and how they are hashed, a few at a time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from flask_bcrypt import Bcrypt
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from users_app import names
from users_app.hashing_slots import HashingSlots

SHORTEST, LONGEST = 8, 128
COMMON = frozenset(FREQUENCY_LISTS["passwords"])
# Below this length nearly every password holds the username by chance.
SHORTEST_USERNAME_LOOKED_FOR = 3


def complaints(password: str, username: str | None = None) -> list[str]:
    """Returns every reason why the password is refused; none means it is accepted."""
    found = []
    if not SHORTEST <= len(password) <= LONGEST:
        found.append(f"must have {SHORTEST} to {LONGEST} characters")
    if names.key(password) in COMMON:
        found.append("is among the passwords that are tried first: choose another")
    if username and holds(password, username):
        found.append("must not contain the username")
    return found


def holds(password: str, username: str) -> bool:
    wanted = names.key(username)
    return len(wanted) >= SHORTEST_USERNAME_LOOKED_FOR and wanted in names.key(password)


class PasswordHasher:
    """bcrypt over a keyed digest, so that bytes beyond bcrypt's 72nd count too.

    Each hash takes a slot for the address that asks; without one: TooManyRequests.
    """

    def __init__(self, bcrypt: Bcrypt, pepper: bytes, *, rounds: int, slots: int) -> None:
        self.bcrypt = bcrypt
        self.pepper = pepper
        self.rounds = rounds
        self.slots = HashingSlots(slots)
        self.stand_in = self.bcrypt.generate_password_hash(secrets.token_bytes(32), rounds)

    def hash(self, password: str, address: str) -> str:
        """Returns the hash to store."""
        with self.slots.slot(address):
            made: bytes = self.bcrypt.generate_password_hash(self.digest(password), self.rounds)
        return made.decode("ascii")

    def matches(self, stored: str | None, password: str, address: str) -> bool:
        """Whether the password is the stored one's; takes as long without a stored one."""
        with self.slots.slot(address):
            return self.compare(stored or self.stand_in, password) and stored is not None

    def compare(self, stored: str | bytes, password: str) -> bool:
        try:
            found: bool = self.bcrypt.check_password_hash(stored, self.digest(password))
        except ValueError:  # a corrupt hash lets nobody in, and costs the usual time
            self.bcrypt.check_password_hash(self.stand_in, self.digest(password))
            return False
        return found

    def is_outdated(self, stored: str) -> bool:
        """Whether the stored hash is cheaper than the present setting."""
        cost = stored.split("$")[2:3]
        return bool(cost) and cost[0].isdigit() and int(cost[0]) < self.rounds

    def digest(self, password: str) -> bytes:
        # NFKC: the same password typed on another keyboard is the same one.
        text = names.normal(password).encode()
        return base64.b64encode(hmac.new(self.pepper, text, hashlib.sha256).digest())
