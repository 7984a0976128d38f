"""Codes that a front end elsewhere trades for tokens after somebody signed in by GitHub or Google.

Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE = "sign_in_codes"


def upgrade() -> None:
    op.add_column("oauth_requests", sa.Column("challenge", sa.String(length=43)))
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_in_codes_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_codes")),
        sa.UniqueConstraint("token", name=op.f("uq_sign_in_codes_token")),
    )
    op.create_index(op.f("ix_sign_in_codes_user_id"), TABLE, ["user_id"])
    op.create_index(op.f("ix_sign_in_codes_expires_at"), TABLE, ["expires_at"])


def downgrade() -> None:
    op.drop_table(TABLE)
    op.drop_column("oauth_requests", "challenge")
