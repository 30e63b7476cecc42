"""Uploads that come in parts, so that one which breaks goes on where it was."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "multipart_uploads",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("person_id", sa.String(40), index=True),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("storage_id", sa.Text, nullable=False),
        sa.Column("part_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False, index=True),
    )


def downgrade() -> None:
    """Forget them: what is stored of them expires."""
    op.drop_table("multipart_uploads")
