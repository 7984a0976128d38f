"""Tasks on ECS are known until they are stopped, though their deployments are deleted; attempts know their memory.

Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tasks_to_stop",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("task"),
    )
    op.add_column("build_attempts", sa.Column("memory_mib", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("build_attempts", "memory_mib")
    op.drop_table("tasks_to_stop")
