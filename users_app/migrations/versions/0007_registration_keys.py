"""Forms of registrations, so that a repeat is known; the release before leaves the table alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "registration_keys",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_registration_keys"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_registration_keys_user_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_registration_keys_user_id", "registration_keys", ["user_id"])


def downgrade() -> None:
    op.drop_table("registration_keys")
