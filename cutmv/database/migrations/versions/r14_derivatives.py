"""What was asked to be made of uploads, whose what was deleted was, and which accounts end."""

import sqlalchemy as sa
from alembic import op

revision = "14"
down_revision = "13"


def upgrade() -> None:
    """Make the table and the column; what was made before is in no row."""
    op.create_table(
        "derivatives",
        sa.Column(
            "upload_id",
            sa.String(40),
            sa.ForeignKey("uploads.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("asked_at", sa.Double),
        sa.Column("sent_at", sa.Double),
        sa.Column("sends", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.String(40)),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("look_at", sa.Double, index=True),
        sa.Column("ended_at", sa.Double, index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.add_column("deletions", sa.Column("person_id", sa.String(40)))
    op.create_index("ix_deletions_person_id", "deletions", ["person_id"])
    op.add_column("people", sa.Column("ends_at", sa.Double))


def downgrade() -> None:
    """Forget them: a version before this one sends all at once. What waits is asked for again.

    Accounts whose end has begun stay disabled, to be deleted again.
    """
    op.drop_column("people", "ends_at")
    op.drop_index("ix_deletions_person_id", "deletions")
    op.drop_column("deletions", "person_id")
    op.drop_table("derivatives")
