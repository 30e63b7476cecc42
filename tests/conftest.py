"""Fixtures that many test modules share; each has a module of its own."""

pytest_plugins = [
    "tests.emulator_fixture",
    "tests.postgres_fixture",
    "tests.redis_fixture",
    "tests.s3_fixture",
    "tests.site_fixture",
    "tests.stack",
]
