"""Know what each host showed before, for visitors whose page is of then.

Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLE = "former_deployments"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("label", sa.String(length=253), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_former_deployments_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("label", "deployment_id", name=op.f("pk_former_deployments")),
    )
    op.create_index("ix_former_deployments_label_left_at", TABLE, ["label", "left_at"])
    op.create_index(op.f("ix_former_deployments_deployment_id"), TABLE, ["deployment_id"])
    # What each host showed last is known already.
    op.execute(
        "INSERT INTO former_deployments SELECT label, previous_deployment_id, now() FROM site_hosts"
        " WHERE previous_deployment_id IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_table(TABLE)
