"""Blobs that no deployment names are deleted, and old deployments as their project says.

Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("keep_deployments", sa.Integer(), nullable=True))
    op.add_column("projects", sa.Column("keep_days", sa.Integer(), nullable=True))
    op.create_table(
        "collections",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.String(64), server_default="", nullable=False),
        sa.Column("objects", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id"),
    )


def downgrade() -> None:
    op.drop_table("collections")
    op.drop_column("projects", "keep_days")
    op.drop_column("projects", "keep_deployments")
