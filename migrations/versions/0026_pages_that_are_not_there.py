"""Projects say what a page that is not there gets.

Revises: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("fallback", sa.Text(), server_default="auto", nullable=False))
    op.create_check_constraint(op.f("ck_projects_fallback"), "projects", "fallback IN ('auto', 'spa', 'none')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_projects_fallback"), "projects", type_="check")
    op.drop_column("projects", "fallback")
