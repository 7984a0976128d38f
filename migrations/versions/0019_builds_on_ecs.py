"""Attempts know their task on ECS, deployments how often there was no place for them.

Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TASKS = "ix_build_attempts_tasks"


def upgrade() -> None:
    op.add_column("build_attempts", sa.Column("sweeps", sa.Integer(), server_default="0", nullable=False))
    op.add_column("build_attempts", sa.Column("task", sa.Text(), nullable=True))
    op.add_column("build_attempts", sa.Column("task_over", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(TASKS, "build_attempts", ["task"], postgresql_where=sa.text("task IS NOT NULL AND NOT task_over"))
    op.add_column("deployments", sa.Column("refusals", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deployments", sa.Column("held_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("deployments", "held_until")
    op.drop_column("deployments", "refusals")
    op.drop_index(TASKS, "build_attempts")
    op.drop_column("build_attempts", "task_over")
    op.drop_column("build_attempts", "task")
    op.drop_column("build_attempts", "sweeps")
