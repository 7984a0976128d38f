"""Indexes that lists and figures of deployments are read from, without their rows.

Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLE = "deployments"
FIGURES = ["status", "build_duration", "project_id"]
WIDER = {
    "ix_deployments_user_id_sequence": (["user_id", "sequence"], ["status", "project_id"]),
    "ix_deployments_project_id_sequence": (["project_id", "sequence"], ["status"]),
}
NEW = {
    "ix_deployments_status_sequence": (["status", "sequence"], []),
    "ix_deployments_user_id_created_at": (["user_id", "created_at"], FIGURES),
    "ix_deployments_created_at": (["created_at"], FIGURES),
}
# What the others begin with.
NEEDLESS = ["user_id", "project_id", "status"]


def upgrade() -> None:
    for name in WIDER:
        op.drop_index(name, TABLE)
    for name, (columns, included) in (WIDER | NEW).items():
        op.create_index(name, TABLE, columns, postgresql_include=included or None)
    for column in NEEDLESS:
        op.drop_index(f"ix_deployments_{column}", TABLE)


def downgrade() -> None:
    for column in NEEDLESS:
        op.create_index(f"ix_deployments_{column}", TABLE, [column])
    for name in WIDER | NEW:
        op.drop_index(name, TABLE)
    for name, (columns, _) in WIDER.items():
        op.create_index(name, TABLE, columns)
