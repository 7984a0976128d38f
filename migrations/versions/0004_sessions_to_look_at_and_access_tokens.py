"""What tells one's sessions from each other, and personal access tokens.

Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NOW = sa.text("now()")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("kind", sa.String(length=20), server_default="api", nullable=False))
    op.add_column("sessions", sa.Column("address", sa.String(length=45)))
    op.add_column("sessions", sa.Column("user_agent", sa.String(length=255)))
    op.add_column("sessions", sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False))
    op.create_table(
        "personal_access_tokens",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("hint", sa.String(length=20), nullable=False),
        sa.Column("scope", sa.String(length=20), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_personal_access_tokens_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_personal_access_tokens")),
        sa.UniqueConstraint("token", name=op.f("uq_personal_access_tokens_token")),
    )
    op.create_index(op.f("ix_personal_access_tokens_user_id"), "personal_access_tokens", ["user_id"])


def downgrade() -> None:
    op.drop_table("personal_access_tokens")
    for name in ("last_seen_at", "user_agent", "address", "kind"):
        op.drop_column("sessions", name)
