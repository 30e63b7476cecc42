"""How long people want to have kept what is theirs, where that is shorter than it may be."""

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"


def upgrade() -> None:
    """Add the column."""
    op.add_column("people", sa.Column("retention_days", sa.BigInteger))


def downgrade() -> None:
    """Forget it: a version before this one keeps all as long as the deployment says."""
    op.drop_column("people", "retention_days")
