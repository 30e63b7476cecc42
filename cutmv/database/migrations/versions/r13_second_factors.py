"""Second factors: an app's secret, the last step whose code was taken, and recovery codes."""

import sqlalchemy as sa
from alembic import op

revision = "13"
down_revision = "12"


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("people", sa.Column("totp_secret", sa.String(64)))
    op.add_column("people", sa.Column("totp_step", sa.BigInteger))
    op.create_table(
        "recovery_codes",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column(
            "person_id",
            sa.String(40),
            sa.ForeignKey("people.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
    )


def downgrade() -> None:
    """Forget them: a version before this one asks for no code."""
    op.drop_table("recovery_codes")
    op.drop_column("people", "totp_step")
    op.drop_column("people", "totp_secret")
