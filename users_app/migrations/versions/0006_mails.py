"""Mails that are sent the same at each try, and kept with the reason when they are refused.

The release before writes none of the new columns, and finds no dead mail due. Downwards the
dead ones go: it would send them, months later.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
ADDED = ("unanswered", "salt", "code_until", "last_error", "dead_at")


def upgrade() -> None:
    op.add_column(
        "mails", sa.Column("unanswered", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("mails", sa.Column("salt", sa.LargeBinary()))
    op.add_column("mails", sa.Column("code_until", MOMENT))
    op.add_column("mails", sa.Column("last_error", sa.Text()))
    op.add_column("mails", sa.Column("dead_at", MOMENT))
    op.create_table(
        "mail_attempts",
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("outcome", name="pk_mail_attempts"),
    )


def downgrade() -> None:
    op.drop_table("mail_attempts")
    op.execute("DELETE FROM mails WHERE dead_at IS NOT NULL")
    for column in ADDED:
        op.drop_column("mails", column)
