"""When a step ended, and where it failed, for operators."""

import sqlalchemy as sa
from alembic import op

revision = "10"
down_revision = "9"


def upgrade() -> None:
    """Add the columns, and an index by which the latest are found."""
    op.add_column("steps", sa.Column("ended_at", sa.Double))
    op.add_column("steps", sa.Column("traceback", sa.Text))
    op.create_index("steps_by_end", "steps", ["ended_at"])


def downgrade() -> None:
    """Forget it: the error that people are shown stays."""
    op.drop_index("steps_by_end", "steps")
    op.drop_column("steps", "traceback")
    op.drop_column("steps", "ended_at")
