"""Gateways side by side: who runs, and whose each session and batch is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forwards."""
    op.create_table(
        "gateways",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("life", sa.String(64)),
        sa.Column("beat", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_seconds", sa.Float(), nullable=False),
        sa.Column("url", sa.String(255), nullable=False),
        sa.Column("driver_url", sa.String(255), nullable=False),
        sa.Column("place", sa.String(1024), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_gateways"),
    )
    op.add_column("sessions", sa.Column("term", sa.Integer(), server_default="1", nullable=False))
    op.create_index("ix_sessions_gateway", "sessions", ["gateway"])
    op.create_index("ix_batches_gateway", "batches", ["gateway"])


def downgrade() -> None:
    """Backwards."""
    op.drop_index("ix_batches_gateway", "batches")
    op.drop_index("ix_sessions_gateway", "sessions")
    op.drop_column("sessions", "term")
    op.drop_table("gateways")
