"""How emails and usernames are written, and when two of them are the same."""

from __future__ import annotations

import unicodedata

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

LONGEST_EMAIL = 254
LONGEST_USERNAME = 64
USERNAME_MARKS = "._-"
# The library refuses .local, .test and their like; a self-hosted team may have such servers.
SPECIAL_USE_DOMAIN_NAMES.clear()


def normal(text: str) -> str:
    """Returns the text in NFKC: full-width letters and ligatures become plain ones."""
    return unicodedata.normalize("NFKC", text)


def key(text: str) -> str:
    """Returns what two spellings of one name share; names are unique by it."""
    return normal(normal(text).casefold())


def plain_text(text: str) -> str:
    """Returns the text; raises ValueError if it holds control characters."""
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in text):
        raise ValueError("must not hold control characters")
    return text


def email(text: str) -> str:
    """Returns the address in its normal form; raises ValueError for what isn't one.

    Nothing is asked of the network, and a host name without a dot will do.
    """
    plain_text(text)
    try:
        found = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except (EmailNotValidError, ValueError):
        raise ValueError("must be an email address such as ada@example.com") from None
    if len(found.normalized) > LONGEST_EMAIL:
        raise ValueError(f"must have at most {LONGEST_EMAIL} characters")
    return found.normalized


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
    return character in USERNAME_MARKS or unicodedata.category(character)[0] in "LMN"


def search_text(*parts: str | None) -> str:
    """Returns the text that a search looks in: all parts by their keys."""
    return key("\n".join(part for part in parts if part))
