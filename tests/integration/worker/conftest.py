"""What the tests of workers share: a store and a storage on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cutmv.config import Settings
from cutmv.services import Services


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services.open(Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path / "data")}))
    yield services
    services.store.close()
