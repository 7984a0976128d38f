"""Attempts know by which nonce their agent may ask for the order again.

Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("build_attempts", sa.Column("nonce_hash", sa.String(64), nullable=True))


def downgrade() -> None:
    op.drop_column("build_attempts", "nonce_hash")
