"""The uploads, jobs, steps and costs.

Versions before there were revisions made the tables by themselves, the oldest with fewer columns:
what such a database lacks is added.
"""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

metadata = sa.MetaData()

sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("info", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False, index=True),
)

sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("upload_id", sa.ForeignKey("uploads.id"), nullable=False, index=True),
    sa.Column("state", sa.String(10), nullable=False, index=True),
    sa.Column("route", sa.String(10)),
    sa.Column("error", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False, index=True),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
)

sa.Table(
    "steps",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("clip", sa.Text, nullable=False),
    sa.Column("start_s", sa.Double, nullable=False),
    sa.Column("end_s", sa.Double, nullable=False),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("aspect", sa.String(10), nullable=False),
    sa.Column("fit", sa.String(10), nullable=False),
    sa.Column("spec", sa.JSON(none_as_null=True)),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("stage", sa.String(20)),
    sa.Column("percent", sa.Double, nullable=False, default=0.0),
    sa.Column("fps", sa.Double),
    sa.Column("speed", sa.Double),
    sa.Column("eta_s", sa.Double),
    sa.Column("out_time_s", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("route", sa.String(10)),
    sa.Column("error", sa.Text),
    sa.Column("output_key", sa.Text),
    sa.Column("output_size", sa.BigInteger),
    sa.Column("output_type", sa.Text),
    sa.Column("output_made", sa.JSON(none_as_null=True)),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", sa.Double),
    sa.Column("claimed_at", sa.Double),
    sa.Column("enqueued_at", sa.Double),
    sa.Column("resends", sa.Integer, nullable=False, server_default="0"),
    sa.Column("queued_at", sa.Double),
    sa.Column("parent_id", sa.String(40), index=True),
    sa.Column("part", sa.JSON(none_as_null=True)),
    sa.Column("division", sa.String(10)),
    sa.Index("steps_by_state", "state", "lease_until"),
    sa.Index("steps_by_claim", "claimed_at"),
)

sa.Table(
    "costs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("expected_s", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
)


def upgrade() -> None:
    """Make the tables, or bring those that there are up to date."""
    db = op.get_bind()
    metadata.create_all(db)
    inspector = sa.inspect(db)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                defined = sa.schema.CreateColumn(column).compile(dialect=db.dialect)
                op.execute(f"alter table {table.name} add column {defined}")
        for index in table.indexes:
            index.create(db, checkfirst=True)


def downgrade() -> None:
    """Drop the tables."""
    metadata.drop_all(op.get_bind())
