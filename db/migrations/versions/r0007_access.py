"""Who may use the HTTP API, and what was changed through it."""

revision = "r0007"
down_revision = "r0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
