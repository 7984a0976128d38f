"""Accounts whose owners asked for their deletion, and tokens that GitHub is to take back.

Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NOW = sa.text("now()")


def upgrade() -> None:
    op.add_column("users", sa.Column("deletion_asked_at", sa.DateTime(timezone=True)))
    op.create_index(
        op.f("ix_users_deletion_asked_at"),
        "users",
        ["deletion_asked_at"],
        postgresql_where=sa.text("deletion_asked_at IS NOT NULL"),
    )
    op.create_table(
        "token_revocations",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_revocations")),
    )
    op.create_index(op.f("ix_token_revocations_due_at"), "token_revocations", ["due_at"])


def downgrade() -> None:
    op.drop_table("token_revocations")
    op.drop_column("users", "deletion_asked_at")
