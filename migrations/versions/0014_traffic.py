"""What sites are asked for, and how much they may send.

Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = ("traffic_budgets", "traffic_batches", "traffic_names", "traffic_visitors", "traffic_hours")
COUNTS = ("requests", "sent_bytes", "succeeded", "redirected", "refused", "failed")


def upgrade() -> None:
    op.create_table(
        "traffic_hours",
        _project("traffic_hours"),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_preview", sa.Boolean(), server_default=sa.false(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("project_id", "hour", "is_preview", name=op.f("pk_traffic_hours")),
    )
    op.create_index(op.f("ix_traffic_hours_hour"), "traffic_hours", ["hour"])
    op.create_table(
        "traffic_visitors",
        _project("traffic_visitors"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("registers", sa.LargeBinary(), nullable=False),
        sa.Column("estimate", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "day", name=op.f("pk_traffic_visitors")),
    )
    op.create_index(op.f("ix_traffic_visitors_day"), "traffic_visitors", ["day"])
    op.create_table(
        "traffic_names",
        _project("traffic_names"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "day", "kind", "name", name=op.f("pk_traffic_names")),
    )
    op.create_index(op.f("ix_traffic_names_day"), "traffic_names", ["day"])
    op.create_table(
        "traffic_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traffic_batches")),
    )
    op.create_table(
        "traffic_budgets",
        _project("traffic_budgets"),
        sa.Column("month_gb", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_traffic_budgets")),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)


def _project(table: str) -> sa.Column[object]:
    """Return the column of the project, with which its rows go."""
    name = op.f(f"fk_{table}_project_id")
    return sa.Column(
        "project_id", sa.Uuid(), sa.ForeignKey("projects.id", name=name, ondelete="CASCADE"), nullable=False
    )
