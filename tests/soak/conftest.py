"""How long a soak test goes on, and the dice it throws; both from `scripts/soak`."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture
def seconds() -> float:
    """How long to go on."""
    return 60 * float(os.environ.get("SOAK_MINUTES", "5"))


@pytest.fixture
def dice() -> random.Random:
    """What chooses; the same seed chooses the same, as far as the machine lets it."""
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"\nseed: {seed}")
    return random.Random(seed)
