"""How emails and names are written, and when two of them are the same.

Names are compared by `key`, which makes look-alikes one. Addresses never are: two of them
that look alike are two mailboxes.
"""

from __future__ import annotations

import re
import string
import unicodedata

import idna
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

LONGEST_EMAIL = 254
LONGEST_USERNAME = 64
USERNAME_MARKS = "._-"
ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# Default_Ignorable_Code_Point of Unicode 17's DerivedCoreProperties.txt, which `unicodedata`
# doesn't know (all bidirectional controls are among them); and two fillers that show as nothing.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\u2800\U00016fe4]"
)
# Persian and Indic words and emoji need these two inside a word, and these after a sign.
JOINERS = frozenset("\u200c\u200d")
VARIATION_SELECTOR = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
VIRAMA = 9  # its combining class: a joiner after one may end a word
# The library refuses .local, .test and their like; a self-hosted team may have such servers.
SPECIAL_USE_DOMAIN_NAMES.clear()


def normal(text: str) -> str:
    """Returns the text in NFKC: full-width letters and ligatures become plain ones."""
    return unicodedata.normalize("NFKC", text)


def key(text: str) -> str:
    """Returns what two spellings of one name share; names are unique by it."""
    return normal(normal(text).casefold())


def address_key(text: str) -> str:
    """Returns what two spellings of one address share: ASCII case, and the domain's A-label."""
    local, at, domain = text.rpartition("@")
    return f"{local.translate(ASCII_LOWER)}{at}{a_label(domain)}"


def a_label(domain: str) -> str:
    """Returns the domain as DNS knows it (`xn--…`), in lower case; what is none stays."""
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain.translate(ASCII_LOWER)


def plain_text(text: str) -> str:
    """Returns the text; raises ValueError if it holds control characters."""
    if any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text):
        raise ValueError("must not hold control characters")
    return text


def full_name(text: str) -> str:
    """Returns the name; raises ValueError for characters that can't be seen or turn a line."""
    plain_text(text)
    for found in INVISIBLE.finditer(text):
        if not shapes_a_word(text, found.start()):
            raise ValueError("must not hold invisible characters")
    return text


def shapes_a_word(text: str, place: int) -> bool:
    """Whether the invisible character there is one that a word is written with."""
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if VARIATION_SELECTOR.match(text[place]):
        return visible(before)
    if text[place] not in JOINERS:
        return False
    begun = visible(before) or bool(VARIATION_SELECTOR.match(before))
    return begun and (visible(after) or unicodedata.combining(before) == VIRAMA)


def visible(character: str) -> bool:
    return bool(character.strip()) and not INVISIBLE.match(character)


def email(text: str) -> str:
    """Returns the address as typed, its domain in normal form; raises ValueError for none.

    The part before the @ is its server's to read: not even equivalent letters are exchanged.
    Nothing is asked of the network, and a host name without a dot will do.
    """
    plain_text(text)
    try:
        found = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except (EmailNotValidError, ValueError):
        raise ValueError("must be an email address such as ada@example.com") from None
    address = f"{text.rpartition('@')[0]}@{found.domain}"
    if len(address) > LONGEST_EMAIL:
        raise ValueError(f"must have at most {LONGEST_EMAIL} characters")
    return address


def username(text: str) -> str:
    """Returns the name in NFKC; raises ValueError for one that holds other characters."""
    name = normal(text)
    if not 1 <= len(name) <= LONGEST_USERNAME:
        raise ValueError(f"must have 1 to {LONGEST_USERNAME} characters")
    if not all(belongs_in_a_username(each) for each in name) or not name[0].isalnum():
        raise ValueError("must begin with a letter or digit and hold only these and . _ -")
    return name


def belongs_in_a_username(character: str) -> bool:
    # No "@": a username that looks like an email could stand in for another's address.
    if character in USERNAME_MARKS:
        return True
    return unicodedata.category(character)[0] in "LMN" and not INVISIBLE.match(character)


def search_text(*parts: str | None) -> str:
    """Returns the text that a search looks in: all parts by their keys."""
    return key("\n".join(part for part in parts if part))
