"""Bring a database's tables to this version of nightbench."""

from pathlib import Path

from nightbench.errors import UsageError

__all__ = ["migrate", "newest_step"]

# Any number will do, as long as every nightbench takes the same one (pg_advisory_xact_lock).
_LOCK = 7_105_513_021
_STEPS = Path(__file__).parent / "migrations" / "versions"


def migrate(url: str) -> None:
    """Make or upgrade the tables, all or nothing. Safe to call at every start and from several processes at once.

    Raises `UsageError` if a newer nightbench has already upgraded this database, `DatabaseDown` if it does not answer.
    """
    if _is_current(url):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import text

    from db.engine import describe, named_failures, open_engine

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head()
    engine = open_engine(url, pooled=False)
    with named_failures(url), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        current = MigrationContext.configure(connection).get_current_revision()
        if current == head:
            return
        if current is not None and current not in {step.revision for step in script.walk_revisions()}:
            raise UsageError(
                f"database: {describe(url)} was upgraded by a newer nightbench (step {current}, this one knows up to"
                f" {head}); upgrade nightbench, or use another database"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def newest_step() -> str:
    """The revision that this version's tables are at: steps' files are named by their order."""
    return max(path.name for path in _STEPS.glob("r*.py")).partition("_")[0]


def _is_current(url: str) -> bool:
    """Whether there is nothing to do, found out without Alembic: its import takes a third of a short command's time."""
    from sqlalchemy import text

    from db.engine import named_failures, open_engine

    with named_failures(url), open_engine(url, pooled=False).connect() as connection:
        if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return False
        return list(connection.scalars(text("SELECT version_num FROM alembic_version"))) == [newest_step()]
