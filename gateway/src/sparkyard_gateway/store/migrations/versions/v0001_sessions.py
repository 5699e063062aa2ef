"""Sessions, their statements, and what happened to them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forwards."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("team", sa.String(255)),
        sa.Column("name", sa.String(128)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("profile", sa.String(255), nullable=False),
        sa.Column("backend", sa.String(32), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("app_id", sa.String(255)),
        sa.Column("spark_ui", sa.String(255)),
        sa.Column("spark_version", sa.String(64)),
        sa.Column("python_version", sa.String(64)),
        sa.Column("handle", sa.JSON()),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("gateway", sa.String(255), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="1", nullable=False),
        sa.Column("acked", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger()),
        sa.Column("active_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("removed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_sessions_owner_idempotency_key"),
        sqlite_autoincrement=True,
    )
    free = sa.text("ended_at IS NULL AND removed_at IS NULL")
    op.create_index(
        "uq_sessions_owner_name",
        "sessions",
        ["owner", "name"],
        unique=True,
        sqlite_where=free,
        postgresql_where=free,
    )
    op.create_index("ix_sessions_removed_at", "sessions", ["removed_at"])
    op.create_table(
        "statements",
        sa.Column("session_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("progress", sa.Float(), server_default="0", nullable=False),
        sa.Column("truncated", sa.Text()),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("completed_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_statements"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_statements_session_id_sessions"),
        sa.UniqueConstraint("session_id", "idempotency_key", name="uq_statements_session_id_idempotency_key"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_events_session_id_sessions"),
    )
    op.create_index("ix_events_session_id", "events", ["session_id"])
    op.create_index("ix_events_at", "events", ["at"])


def downgrade() -> None:
    """Backwards."""
    for table in ("events", "statements", "sessions"):
        op.drop_table(table)
