"""What was shown of a job's progress, so that it never goes backwards. Pure."""

from cutmv.jobs import Job
from cutmv.progress.event import ProgressEvent


class Shown:
    """What watchers have been shown of each step that has not ended."""

    def __init__(self, job: Job) -> None:
        running = (step for step in job.steps if not step.state.final)
        self._latest = {step.id: ProgressEvent.of_step(step) for step in running}

    def accepts(self, event: ProgressEvent) -> bool:
        """Whether watchers are to be shown `event`, which is then taken as shown."""
        before = self._latest.get(event.step_id)
        if before is None or event.is_final or event.percent is None or before.percent is None:
            return False
        if event.percent == before.percent:
            is_news = event.stage != before.stage
        else:
            is_news = before.percent < event.percent <= 100.0
        if is_news:
            self._latest[event.step_id] = event
        return is_news
