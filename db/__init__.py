"""Where records are kept: first a line in the spool, then rows in Postgres.

`db.spool` needs no database and none of its packages, so that a bare machine can measure; `db.drain` brings what it
wrote into a `db.store.Store`. Only this package knows SQLAlchemy, and it imports it where it is used.
"""
