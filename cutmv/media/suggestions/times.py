"""Write times."""


def time_text(seconds: float) -> str:
    """A time as people write it, exact to the microsecond: `1:02:03.25`."""
    whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{clock}.{part:06}".rstrip("0").rstrip(".")
