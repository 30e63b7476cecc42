"""What was deleted, so that nothing of it is left for ever."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "deletions",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("what", sa.JSON, nullable=False),
        sa.Column("deleted_at", sa.Double, nullable=False, index=True),
        sa.Column("done_at", sa.Double),
    )


def downgrade() -> None:
    """Forget it: a version before this one deletes nothing late."""
    op.drop_table("deletions")
