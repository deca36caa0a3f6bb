"""Alembic's entry: runs the steps on the connection `db.migrate` hands over, inside its transaction."""

from alembic import context

from db.measurement_tables import measurements

context.configure(connection=context.config.attributes["connection"], target_metadata=measurements.metadata)
context.run_migrations()
