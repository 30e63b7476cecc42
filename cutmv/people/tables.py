"""The tables of people, their second factors, API keys and sessions. Times are seconds since
1970.
"""

import sqlalchemy as sa

from cutmv.database import metadata

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    # Null for somebody who never signs in by e-mail.
    sa.Column("email", sa.Text, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    # Null for somebody who has set no password yet.
    sa.Column("password_hash", sa.Text),
    sa.Column("is_admin", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("disabled_at", sa.Double),
    # When the account's deletion goes on, which has begun; null while it is to stay.
    sa.Column("ends_at", sa.Double),
    sa.Column("created_at", sa.Double, nullable=False),
    # Those of the person's quotas that are not the deployment's.
    sa.Column("quotas", sa.JSON(none_as_null=True)),
    # For how many days they want things kept; null for as many as may be.
    sa.Column("retention_days", sa.BigInteger),
    # Of the second factor: the app's secret, null while there is none, and the last step of 30 s
    # since 1970 whose code was taken.
    sa.Column("totp_secret", sa.String(64)),
    sa.Column("totp_step", sa.BigInteger),
)

recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    # Of the code, which only its owner has.
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column(
        "person_id",
        sa.String(40),
        sa.ForeignKey("people.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column(
        "person_id",
        sa.String(40),
        sa.ForeignKey("people.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("name", sa.Text, nullable=False),
    # Of the key itself, which nobody keeps.
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    # Null for a key that does not expire.
    sa.Column("expires_at", sa.Double),
    sa.Column("last_used_at", sa.Double),
)

sessions = sa.Table(
    "sessions",
    metadata,
    # Of the id, which only the person's browser has.
    sa.Column("id_hash", sa.String(64), primary_key=True),
    sa.Column(
        "person_id",
        sa.String(40),
        sa.ForeignKey("people.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("last_seen_at", sa.Double, nullable=False),
)
