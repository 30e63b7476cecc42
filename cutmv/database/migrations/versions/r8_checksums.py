"""The CRC-32 of each output, which a ZIP tells before it has the output's bytes."""

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"


def upgrade() -> None:
    """Add the column; of outputs that are there it is computed when it is first asked for."""
    op.add_column("steps", sa.Column("output_crc32", sa.BigInteger))


def downgrade() -> None:
    """Forget them."""
    op.drop_column("steps", "output_crc32")
