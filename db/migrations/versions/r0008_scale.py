"""Five years of nights: partitions, roll-ups, and the views that dashboards read."""

revision = "r0008"
down_revision = "r0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
