"""Whether a server ran in a container, and which image that was."""

from alembic import op

revision = "r0006"
down_revision = "r0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE cases ADD COLUMN launcher TEXT")
    op.execute("""
ALTER TABLE deployments
    ADD COLUMN launcher TEXT NOT NULL DEFAULT 'process',
    ADD COLUMN image TEXT NOT NULL DEFAULT '',
    ADD COLUMN image_digest TEXT NOT NULL DEFAULT ''
""")
