"""Who made an API key, how it begins, and when it was last used."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS: dict[str, Any] = {
    "prefix": sa.String(10),
    "created_by": sa.BigInteger(),
    "last_used_at": sa.DateTime(timezone=True),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("api_keys", sa.Column(name, kind))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("api_keys", name)
