"""The ids of signed requests that were accepted."""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "accepted_requests",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("expires_at", sa.Double, nullable=False, index=True),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("accepted_requests")
