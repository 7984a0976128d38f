"""How Alembic reaches the database: through the application that Flask-Migrate runs it in."""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError
from flask import current_app

from autostack.extensions import db


def run_offline() -> None:
    """Print the SQL instead of running it (`flask db upgrade --sql`)."""
    url = current_app.config["SQLALCHEMY_DATABASE_URI"]
    context.configure(url=url, target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Migrate the application's database, all in one transaction: a failing migration leaves nothing behind."""
    options = current_app.extensions["migrate"].configure_args
    with db.engine.connect() as connection:
        # A large table takes its time.
        connection.connection.driver_connection.timeout_s = None
        context.configure(connection=connection, target_metadata=db.metadata, **options)
        refuse_newer()
        with context.begin_transaction():
            context.run_migrations()


def refuse_newer() -> None:
    """Raise CommandError for a database that has been migrated further than this version knows."""
    known = {script.revision for script in context.script.walk_revisions()}
    unknown = set(context.get_context().get_current_heads()) - known
    if unknown:
        raise CommandError(f"the database was made by a newer Autostack (revision {', '.join(sorted(unknown))})")


if context.is_offline_mode():
    run_offline()
else:
    run_online()
