"""Sessions whose access tokens no longer hold; the release before leaves the table alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "revocations",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("issued_before", sa.BigInteger()),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_revocations"),
    )
    op.create_index("ix_revocations_kept_until", "revocations", ["kept_until"])


def downgrade() -> None:
    op.drop_table("revocations")
