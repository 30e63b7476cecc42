"""Operations without a command line: provision an account, diagnose a deployment.

`provision` yields a plan, whose items (`plan`) `queue_plan` and `bucket_plan` make by comparing
what a deployment needs with what the account has. `doctor` runs the `checks`, which yield findings
(`finding`). The package may import every package but `cutmv.web` and `cutmv.cli`; what needs the
extra `app` is imported where it is used, so that the rest works without.
"""

from cutmv.ops.doctor import diagnose
from cutmv.ops.finding import Finding, Mark
from cutmv.ops.plan import Change, Difference, Fine, Item, LeftAlone, show
from cutmv.ops.provision import planned

__all__ = [
    "Change",
    "Difference",
    "Finding",
    "Fine",
    "Item",
    "LeftAlone",
    "Mark",
    "diagnose",
    "planned",
    "show",
]
