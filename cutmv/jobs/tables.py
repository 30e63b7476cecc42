"""The job store's tables. Times are seconds since 1970; null or defaults are what old rows have."""

import sqlalchemy as sa

from cutmv.database import metadata

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    # Whose it is; null for what nobody who signed in has sent.
    sa.Column("person_id", sa.String(40), index=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("info", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False, index=True),
)

# Uploads that come in parts, until they are one of the above.
multipart_uploads = sa.Table(
    "multipart_uploads",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("person_id", sa.String(40), index=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    # By which the storage knows it.
    sa.Column("storage_id", sa.Text, nullable=False),
    sa.Column("part_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False, index=True),
)

# What was asked to be made of uploads, and what it takes in the storage.
derivatives = sa.Table(
    "derivatives",
    metadata,
    sa.Column("upload_id", sa.ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("kind", sa.String(20), primary_key=True),
    # Null where nobody wants it any more, and a broker has its message.
    sa.Column("asked_at", sa.Double),
    # When a broker took its last message, and how many it took; null and 0 before.
    sa.Column("sent_at", sa.Double),
    sa.Column("sends", sa.Integer, nullable=False, server_default="0"),
    # Who makes it, and how many began to and did not end.
    sa.Column("owner", sa.String(40)),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    # When it counts as lost unless somebody tells of it; null while it waits, or has ended.
    sa.Column("look_at", sa.Double, index=True),
    sa.Column("ended_at", sa.Double, index=True),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
)

#: Of one that is not complete: its row stays for a moment when it is an upload.
is_coming = ~sa.exists().where(uploads.c.id == multipart_uploads.c.id)

# What uploads hold of their persons' quotas on their way; each has the id of its upload.
reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("person_id", sa.String(40), index=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    # Whose it is; null for what nobody who signed in has asked for.
    sa.Column("person_id", sa.String(40), index=True),
    sa.Column("upload_id", sa.ForeignKey("uploads.id"), nullable=False, index=True),
    sa.Column("state", sa.String(10), nullable=False, index=True),
    sa.Column("route", sa.String(10)),
    sa.Column("error", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False, index=True),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    # When its owner asked for a mail of its end; null where none is wanted, or it was sent.
    sa.Column("mail_wanted_at", sa.Double, index=True),
)

steps = sa.Table(
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
    # The whole of what is to be made; null in a row of an earlier version, which had no more.
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
    # Where it failed, for operators; null where that is not known.
    sa.Column("traceback", sa.Text),
    sa.Column("output_key", sa.Text),
    sa.Column("output_size", sa.BigInteger),
    sa.Column("output_type", sa.Text),
    # How it was made; null where that is not known.
    sa.Column("output_made", sa.JSON(none_as_null=True)),
    # The CRC-32 of its bytes; null where nobody has asked for it yet.
    sa.Column("output_crc32", sa.BigInteger),
    # Who has claimed it, and until when; null when nobody has.
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", sa.Double),
    # When it was last claimed.
    sa.Column("claimed_at", sa.Double),
    # When it ended.
    sa.Column("ended_at", sa.Double),
    # When the message that a broker last took is due; null when no broker has one.
    sa.Column("enqueued_at", sa.Double),
    # Messages that followed since nobody took it; null or 0 at the first.
    sa.Column("resends", sa.Integer, nullable=False, server_default="0"),
    # Since when it waits, when that is not since its job was made.
    sa.Column("queued_at", sa.Double),
    # A part: the step that it is of, and since when and until when of that it is, as fractions.
    sa.Column("parent_id", sa.String(40), index=True),
    sa.Column("part", sa.JSON(none_as_null=True)),
    # How it is made where that was decided: in "parts", or "whole" since parts failed.
    sa.Column("division", sa.String(10)),
    sa.Index("steps_by_state", "state", "lease_until"),
    sa.Index("steps_by_claim", "claimed_at"),
    sa.Index("steps_by_end", "ended_at"),
)

#: Of a step that is no part. Not by the index of parents, in which all of these are alike.
whole = sa.func.coalesce(steps.c.parent_id, "") == ""

# Links by which anybody may get what a job has made, or one of its outputs.
shares = sa.Table(
    "shares",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    # The name of the one output; null for all.
    sa.Column("output", sa.Text),
    # Of the token, which only the link has.
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

# What was deleted, and where there may be something left of it.
deletions = sa.Table(
    "deletions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    # Whose it was; null for what was nobody's who signs in, and in rows of an earlier version.
    sa.Column("person_id", sa.String(40), index=True),
    sa.Column("what", sa.JSON, nullable=False),
    sa.Column("deleted_at", sa.Double, nullable=False, index=True),
    # When nothing was left the first time.
    sa.Column("done_at", sa.Double),
)

# What encodings took, by which the next are estimated.
costs = sa.Table(
    "costs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("expected_s", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
)

# Where the ends of a person's jobs are told.
hooks = sa.Table(
    "hooks",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    # Null for those of the one person of a server where nobody signs in.
    sa.Column(
        "person_id", sa.String(40), sa.ForeignKey("people.id", ondelete="CASCADE"), index=True
    ),
    sa.Column("url", sa.Text, nullable=False),
    # What signs; the one before it signs, too, until its time.
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("old_secret", sa.Text),
    sa.Column("old_until", sa.Double),
    sa.Column("created_at", sa.Double, nullable=False),
    # Since when, and why, nothing is sent there any more.
    sa.Column("disabled_at", sa.Double),
    sa.Column("disabled_why", sa.Text),
)

# What is, or was, to be told there.
hook_deliveries = sa.Table(
    "hook_deliveries",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("hook_id", sa.ForeignKey("hooks.id", ondelete="CASCADE"), nullable=False, index=True),
    # Null for a test.
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), index=True),
    sa.Column("event", sa.String(40), nullable=False),
    # When that was of which it tells.
    sa.Column("happened_at", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # When it is sent next, or again where its sender dies; null once it has ended.
    sa.Column("due_at", sa.Double, index=True),
    sa.Column("delivered_at", sa.Double),
    sa.Column("failed_at", sa.Double),
    # What the last attempt was answered.
    sa.Column("answer", sa.Text),
)
