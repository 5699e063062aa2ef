"""Alembic's entry: runs the versions on the connection that `upgrade` hands over."""

from alembic import context

from sparkyard_gateway.store.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
