"""What was seen of each service is read by its time.

Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NAME = "ix_service_status_service_name_last_checked_at"


def upgrade() -> None:
    op.create_index(NAME, "service_status", ["service_name", "last_checked_at"])


def downgrade() -> None:
    op.drop_index(NAME, "service_status")
