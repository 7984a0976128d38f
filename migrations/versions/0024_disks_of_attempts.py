"""Attempts know the disk of their task on ECS.

Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("build_attempts", sa.Column("disk_gib", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("build_attempts", "disk_gib")
