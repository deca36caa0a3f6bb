"""The database as the HTTP API sees it: all of the store, its keys and audit log, and pages of it."""

from db.access import AccessStore
from db.api_reads import ReadStore
from db.store import Store

__all__ = ["ApiStore"]


class ApiStore(AccessStore, ReadStore, Store):
    """One set of connections for all of it."""
