"""Domains of one's own, and passwords of sites.

Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

LABEL = {"existing_type": sa.String(63), "existing_nullable": False}
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("projects", sa.Column("password_hash", sa.String(60), nullable=True))
    op.add_column("projects", sa.Column("password_key_id", sa.String(64), nullable=True))
    op.add_column("projects", sa.Column("protects", sa.String(20), server_default="everything", nullable=False))
    op.alter_column("site_hosts", "label", type_=sa.String(253), **LABEL)
    op.add_column("site_hosts", sa.Column("redirect_to", sa.String(253), nullable=True))
    op.create_table(
        "domains",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(253), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("redirect_to_id", sa.Uuid(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("checked_at", MOMENT, nullable=True),
        sa.Column("verified_at", MOMENT, nullable=True),
        sa.Column("failing_since", MOMENT, nullable=True),
        sa.Column("next_check_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_domains_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["redirect_to_id"], ["domains.id"], name=op.f("fk_domains_redirect_to_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domains")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_domains_project_id_name")),
    )
    op.create_index("ix_domains_next_check_at", "domains", ["next_check_at"])
    op.create_index("ix_domains_redirect_to_id", "domains", ["redirect_to_id"])
    op.create_index(
        "uq_domains_served_name", "domains", ["name"], unique=True, postgresql_where=sa.text("status <> 'pending'")
    )


def downgrade() -> None:
    # A label of 63 characters holds no domain, and nothing would answer at one.
    op.execute("DELETE FROM site_hosts WHERE kind = 'domain'")
    op.drop_table("domains")
    op.drop_column("site_hosts", "redirect_to")
    op.alter_column("site_hosts", "label", existing_type=sa.String(253), type_=sa.String(63), existing_nullable=False)
    for name in ("protects", "password_key_id", "password_hash"):
        op.drop_column("projects", name)
