"""What the backend takes of Celery, without types: there are those of an older Celery alone."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_base = import_module("celery.backends.base")
_asynchronous = import_module("celery.backends.asynchronous")

KeyValueStore: Any = _base.BaseKeyValueStoreBackend
AsyncBackend: Any = _asynchronous.AsyncBackendMixin
BaseConsumer: Any = _asynchronous.BaseResultConsumer
GroupResult: Any = import_module("celery.result").GroupResult
BackendStoreError: Any = import_module("celery.exceptions").BackendStoreError

#: The list of a header that is still generated.
Generated: Any = import_module("celery.utils.functional")._regen
