"""Each host says how often a CDN refused to be told of it, and until when nothing is told.

Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

HELD = "ix_site_hosts_cdn_held"


def upgrade() -> None:
    op.add_column("site_hosts", sa.Column("cdn_refusals", sa.Integer(), server_default="0", nullable=False))
    op.add_column("site_hosts", sa.Column("cdn_held_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index(HELD, "site_hosts", ["cdn_held_until"], postgresql_where=sa.text("cdn_held_until IS NOT NULL"))


def downgrade() -> None:
    op.drop_index(HELD, "site_hosts")
    op.drop_column("site_hosts", "cdn_held_until")
    op.drop_column("site_hosts", "cdn_refusals")
