"""Which jobs their owners want a mail of when they have ended."""

import sqlalchemy as sa
from alembic import op

revision = "11"
down_revision = "10"


def upgrade() -> None:
    """Add the column; of the jobs that are there nobody has asked for one."""
    op.add_column("jobs", sa.Column("mail_wanted_at", sa.Double))
    op.create_index("ix_jobs_mail_wanted_at", "jobs", ["mail_wanted_at"])


def downgrade() -> None:
    """Forget them: a version before this one mails nothing of jobs."""
    op.drop_index("ix_jobs_mail_wanted_at", "jobs")
    op.drop_column("jobs", "mail_wanted_at")
