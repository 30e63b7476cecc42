"""Bytes that uploads hold on their way, so that two can't take the last ones of a person."""

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("person_id", sa.String(40), index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Forget them: a version before this one bounds nothing."""
    op.drop_table("reservations")
