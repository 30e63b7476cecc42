"""What is made of an upload and kept beside it: whose turn it is, and how far it is.

Each is a cache: whoever asks for one that is gone, or another version's, has it made again. What
was asked for has a row, by which people take turns (`asked`) and one worker makes it (`claims`),
and a record in the storage, which says how far it is and what was found (`records`).
"""

from cutmv.jobs.derivatives.asked import Derivatives, TooManyDerivatives
from cutmv.jobs.derivatives.claims import HELD_S, DerivativeClaim, measure
from cutmv.jobs.derivatives.records import (
    ANALYSIS,
    DERIVATIVES,
    OVERVIEW,
    PROXY,
    Derivative,
    DerivativeState,
    Found,
    Record,
    Records,
)

__all__ = [
    "ANALYSIS",
    "DERIVATIVES",
    "HELD_S",
    "OVERVIEW",
    "PROXY",
    "Derivative",
    "DerivativeClaim",
    "DerivativeState",
    "Derivatives",
    "Found",
    "Record",
    "Records",
    "TooManyDerivatives",
    "measure",
]
