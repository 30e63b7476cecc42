"""People, their API keys and sessions, and whose an upload and a job is."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Make the tables; what there is belongs to nobody, which is the administrator."""
    op.create_table(
        "people",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("email", sa.Text, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("is_admin", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("disabled_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("quotas", sa.JSON(none_as_null=True)),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), primary_key=True),
        _person(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("last_used_at", sa.Double),
    )
    op.create_table(
        "sessions",
        sa.Column("id_hash", sa.String(64), primary_key=True),
        _person(),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("last_seen_at", sa.Double, nullable=False),
    )
    for name in ("uploads", "jobs"):
        op.add_column(name, sa.Column("person_id", sa.String(40), index=True))


def downgrade() -> None:
    """Forget the people, and whose an upload and a job was."""
    for name in ("jobs", "uploads"):
        op.drop_index(f"ix_{name}_person_id", name)
        op.drop_column(name, "person_id")
    for name in ("sessions", "api_keys", "people"):
        op.drop_table(name)


def _person() -> sa.Column[str]:
    whose = sa.ForeignKey("people.id", ondelete="CASCADE")
    return sa.Column("person_id", sa.String(40), whose, nullable=False, index=True)
