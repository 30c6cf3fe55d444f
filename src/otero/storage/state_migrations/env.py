"""What alembic runs: on the connection, and inside the transaction, of `State`."""

from alembic import context

from otero.storage.state import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
