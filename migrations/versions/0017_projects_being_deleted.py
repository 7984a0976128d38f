"""Projects that were deleted, and leave with their deployments and log lines in batches.

Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLE = "projects"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.create_index("ix_projects_deleted", TABLE, ["id"], postgresql_where=sa.text("deleted_at IS NOT NULL"))


def downgrade() -> None:
    # Nothing would leave them out any more.
    op.execute("DELETE FROM projects WHERE deleted_at IS NOT NULL")
    op.drop_column(TABLE, "deleted_at")
