"""Where steps and jobs halt in `tests.support.halting`, which changes CUTMV when it is imported."""

POINTS = (
    "before the claim",
    "after the claim",
    "before the cut",
    "in the cut",
    "before the output is stored",
    "before the step is done",
    "after the step is done",
)
#: A job that is kept and not sent; one that is sent, which is not noted yet.
WEB_POINTS = ("kept", "noted")
