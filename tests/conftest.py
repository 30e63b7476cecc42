"""Fixtures that many test modules share; each has a module of its own."""

from hypothesis import HealthCheck, settings

# A busy machine is no failure of an example.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

pytest_plugins = [
    "tests.support.edge_worker",
    "tests.support.emulator",
    "tests.support.once",
    "tests.support.postgres",
    "tests.support.redis",
    "tests.support.s3",
    "tests.support.schedule",
    "tests.support.site",
    "tests.support.failing_disk",
    "tests.support.small_disk",
    "tests.support.stack",
    "tests.support.outages",
]
