"""The revisions of the database's schema. Alembic loads these modules; nothing imports them."""
