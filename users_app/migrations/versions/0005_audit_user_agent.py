"""The program an audited change came from: a null for the release before, which writes none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit", sa.Column("user_agent", sa.String(200)))


def downgrade() -> None:
    op.drop_column("audit", "user_agent")
