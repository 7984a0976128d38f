"""Deployments that are still being put together, on the wizard's pages.

Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLE = "deployment_drafts"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid()),
        sa.Column("repository", sa.String(length=255), nullable=False),
        sa.Column("default_branch", sa.String(length=255), nullable=False),
        sa.Column("branches", postgresql.JSONB(), nullable=False),
        sa.Column("form", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("variables", sa.Text()),
        sa.Column("detected", postgresql.JSONB()),
        sa.Column("deployment_id", sa.Uuid()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_deployment_drafts_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_deployment_drafts_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_deployment_drafts_deployment_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment_drafts")),
    )
    op.create_index("ix_deployment_drafts_user_id_updated_at", TABLE, ["user_id", "updated_at"])
    for column in ("project_id", "deployment_id", "updated_at"):
        op.create_index(op.f(f"ix_deployment_drafts_{column}"), TABLE, [column])


def downgrade() -> None:
    op.drop_table(TABLE)
