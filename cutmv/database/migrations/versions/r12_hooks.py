"""Hooks, where the ends of jobs are told, and what is to be told there."""

import sqlalchemy as sa
from alembic import op

revision = "12"
down_revision = "11"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "hooks",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column(
            "person_id", sa.String(40), sa.ForeignKey("people.id", ondelete="CASCADE"), index=True
        ),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("old_secret", sa.Text),
        sa.Column("old_until", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("disabled_at", sa.Double),
        sa.Column("disabled_why", sa.Text),
    )
    op.create_table(
        "hook_deliveries",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column(
            "hook_id",
            sa.String(40),
            sa.ForeignKey("hooks.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column(
            "job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), index=True
        ),
        sa.Column("event", sa.String(40), nullable=False),
        sa.Column("happened_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double, index=True),
        sa.Column("delivered_at", sa.Double),
        sa.Column("failed_at", sa.Double),
        sa.Column("answer", sa.Text),
    )


def downgrade() -> None:
    """Forget them: a version before this one tells nobody."""
    op.drop_table("hook_deliveries")
    op.drop_table("hooks")
