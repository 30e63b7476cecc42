"""What is raised where somebody wants more than one may have; each is one line for people."""


class StorageFull(Exception):
    """Somebody has `used` bytes stored, or on their way, of `most`; `wanted` more don't fit."""

    def __init__(self, used: int, most: int, wanted: int = 0) -> None:
        super().__init__(f"{used} of {most} bytes are used.")
        self.used, self.most, self.wanted = used, most, wanted


class TooManyRows(Exception):
    """Somebody has `most` rows in the database, as many as may be."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"You have {most:,} uploads, jobs, outputs, links and messages of webhooks, the limit:"
            " delete uploads and jobs. What was deleted counts as one for a day."
        )


class TooManySteps(Exception):
    """As many steps of one person wait as may; later there is room for `wanted` more."""

    def __init__(self, wanted: int, waiting: int, most: int) -> None:
        super().__init__(
            f"The job has {wanted} outputs, {waiting} others wait or are being made, and {most} are"
            " the most: try again when some have ended."
        )
