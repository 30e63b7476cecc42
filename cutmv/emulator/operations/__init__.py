"""The work of each call of the API, and the table of its routes.

An operation runs on the store inside a transaction, and returns the response's `result`; it may
raise the `ApiError` with which the call is refused.
"""

from cutmv.emulator.operations.call import Call, Page
from cutmv.emulator.operations.routes import ROUTE_NAMES, ROUTES, Operation

__all__ = ["ROUTES", "ROUTE_NAMES", "Call", "Operation", "Page"]
