"""Drafts go with the deployment that they became, and know the state of the project that they copied.

Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

FOREIGN_KEY = "fk_deployment_drafts_deployment_id"


def upgrade() -> None:
    op.add_column("deployment_drafts", sa.Column("project_updated_at", sa.DateTime(timezone=True), nullable=True))
    _refer("CASCADE")


def downgrade() -> None:
    _refer("SET NULL")
    op.drop_column("deployment_drafts", "project_updated_at")


def _refer(on_delete: str) -> None:
    op.drop_constraint(op.f(FOREIGN_KEY), "deployment_drafts", type_="foreignkey")
    op.create_foreign_key(
        op.f(FOREIGN_KEY), "deployment_drafts", "deployments", ["deployment_id"], ["id"], ondelete=on_delete
    )
