"""Findings about the items of `cutmv provision`'s plan."""

from cutmv.ops.finding import Finding, ok, problem, warning
from cutmv.ops.plan import Change, Fine, Item, show

#: What to do about an item that is missing or wrong.
PROVISION_ADVICE = "run `cutmv provision`"


def finding_of(item: Item) -> Finding:
    """The finding about an item of the plan."""
    if isinstance(item, Fine):
        return ok(item.what, item.found or "is there")
    if not isinstance(item, Change):
        make = problem if item.blocks else warning
        return make(item.what, item.why, item.advice)
    if item.action == "add":
        return problem(item.what, "is missing", PROVISION_ADVICE)
    found = ", ".join(f"{d.name} is {show(d.old)}, not {show(d.new)}" for d in item.differences)
    if all(each.name == "message_retention_period" for each in item.differences):
        # Cloudflare's free plan fixes it, and all else works.
        return warning(item.what, found, f"{PROVISION_ADVICE}; the free plan fixes it")
    return problem(item.what, found, PROVISION_ADVICE)
