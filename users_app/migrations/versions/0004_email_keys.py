"""Email keys compare addresses, no longer names: ASCII case and the domain's A-label alone.

The emails themselves stay. The release before finds an ASCII address by either key.
"""

from __future__ import annotations

import string
import unicodedata
from collections import defaultdict
from collections.abc import Callable

import idna
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
USERS = sa.table("users", sa.column("id"), sa.column("email"), sa.column("email_key"))


def upgrade() -> None:
    set_keys(address_key)


def downgrade() -> None:
    set_keys(name_key)


def set_keys(key: Callable[[str], str]) -> None:
    """Stores each email's key; stops before the first change if two accounts would share one."""
    connection = op.get_bind()
    accounts = connection.execute(sa.select(USERS).order_by(USERS.c.id)).all()
    keys = {each.id: key(each.email) for each in accounts}
    refuse_shared(keys)
    changed = [
        {"account": each.id, "key": keys[each.id]}
        for each in accounts
        if keys[each.id] != each.email_key
    ]
    update = sa.update(USERS).where(USERS.c.id == sa.bindparam("account"))
    if changed:
        connection.execute(update.values(email_key=sa.bindparam("key")), changed)


def refuse_shared(keys: dict[int, str]) -> None:
    owners: dict[str, list[int]] = defaultdict(list)
    for account, key in keys.items():
        owners[key].append(account)
    shared = [ids for ids in owners.values() if len(ids) > 1]
    if shared:
        raise RuntimeError(
            "these accounts (by id) would have the same email address; "
            f"change the email of all but one of each, then migrate again: {shared}"
        )


def address_key(email: str) -> str:
    local, _, domain = email.rpartition("@")
    return f"{local.translate(ASCII_LOWER)}@{a_label(domain)}"


def a_label(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain.translate(ASCII_LOWER)


def name_key(text: str) -> str:
    normal = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", normal)
