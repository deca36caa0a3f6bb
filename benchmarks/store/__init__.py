"""Five years of nights in a real Postgres: what the store holds to, measured."""
