"""Each host says what a CDN in front of it was told of last.

Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("site_hosts", sa.Column("cdn_generation", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("site_hosts", sa.Column("cdn_deployment_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("site_hosts", "cdn_deployment_id")
    op.drop_column("site_hosts", "cdn_generation")
