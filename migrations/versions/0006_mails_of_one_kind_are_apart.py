"""Of each kind of mail at most one at a time waits for an address, and the next one keeps its distance.

Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = "pending_mails"


def upgrade() -> None:
    op.execute(
        "DELETE FROM pending_mails older USING pending_mails newer WHERE older.purpose = newer.purpose "
        "AND older.recipient = newer.recipient AND (older.created_at, older.id) < (newer.created_at, newer.id)"
    )
    op.create_unique_constraint(op.f("uq_pending_mails_purpose_recipient"), TABLE, ["purpose", "recipient"])
    op.alter_column(TABLE, "due_at", nullable=True)
    op.add_column(
        TABLE, sa.Column("quiet_until", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column(TABLE, "quiet_until")
    op.execute("DELETE FROM pending_mails WHERE due_at IS NULL")
    op.alter_column(TABLE, "due_at", nullable=False)
    op.drop_constraint(op.f("uq_pending_mails_purpose_recipient"), TABLE)
