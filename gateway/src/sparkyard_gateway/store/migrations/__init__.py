"""The database's history, in order, and how a gateway brings a database up to its own version at start."""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

HEAD = "0003"
"""The version this code is written for; a test keeps it equal to the last file in versions/."""

_LOCK = 7_302_026
"""PostgreSQL's advisory lock of whoever brings the database up to its version."""


class NewerDatabaseError(Exception):
    """The database was used by a later gateway."""


def current_version(engine: Engine) -> str | None:
    """Which version the database is at."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(engine: Engine) -> bool:
    """Bring the database to HEAD; returns whether there was something to do.

    Alembic is imported only then: it costs 11 MiB that a running gateway has no use for.
    """
    version = current_version(engine)
    if version == HEAD:
        return False
    if version is not None and version > HEAD:
        raise NewerDatabaseError(
            f"at version {version}, and this gateway knows none later than {HEAD}: use a later one"
        )
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Of several gateways that start at once one does it, and the others find it done.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
    return True
