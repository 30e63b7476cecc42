"""Make the output of one step, or a part of it; or tell in which parts it is to be made."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from cutmv.database import DATABASE_AWAY
from cutmv.jobs import (
    UNREAD,
    Costs,
    Division,
    Output,
    Parts,
    Span,
    Step,
    Upload,
    current,
    output_key,
    part_key,
    require_stored,
    upload_of,
)
from cutmv.media import (
    Cancelled,
    CostModel,
    MediaError,
    Part,
    Progress,
    Rendered,
    RenderPlan,
    Unjoinable,
    Work,
    divide,
    entries,
    hardware_encoder,
    join,
    part_count,
    plan,
    plan_film,
    render,
    wanted_starts,
    work_of,
)
from cutmv.services import Services
from cutmv.storage import ObjectNotFound, crc32_of
from cutmv.tracing import span
from cutmv.worker.heartbeat import CUTTING, JOINING, Heartbeat
from cutmv.worker.patience import STORAGE, Patience
from cutmv.worker.workspace import work_folder

#: The media type of each output, by the extension of its name.
CONTENT_TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "gif": "image/gif",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "png": "image/png",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
}

#: Bytes of an output that its checksum is computed of at a time.
CHECKED_BYTES = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Divided:
    """The parts in which a step is to be made, and the seconds that each will take."""

    spans: Sequence[Span]
    seconds: Sequence[float]


@dataclass(frozen=True)
class Cutting:
    """What is to be cut of `source`, in `limit_s` seconds at most."""

    source: str
    plan: RenderPlan
    limit_s: float


#: Cuts what is wanted, to a path; tells what its encoding was. Raises as `render`.
Cut = Callable[[Cutting, Path], tuple[Rendered, Work]]


class Making:
    """Makes the output of a step that is ours while its heartbeat goes on.

    `divides` says that a step may be divided that takes long. While the storage is away the
    `patience` of its run waits.
    """

    def __init__(
        self,
        services: Services,
        step: Step,
        heartbeat: Heartbeat,
        patience: Patience,
        *,
        stopping: Callable[[], bool],
        divides: bool,
    ) -> None:
        self._services, self._step, self._heartbeat = services, step, heartbeat
        self._storage, self._patience = services.storage, patience
        self._stopping, self._divides = stopping, divides
        extension = PurePath(step.name).suffix.removeprefix(".")
        self._key = output_key(step.job_id, step.id, step.name)
        if step.parent_id:
            self._key = part_key(step.job_id, step.parent_id, step.id)
        #: What cuts the output, where it is not joined of parts.
        self.cut: Cut = self._alone
        self._content_type, self.file_name = CONTENT_TYPES[extension], f"output.{extension}"

    def output(self) -> Output | Divided:
        """The output, stored, which may be there already; or the parts of which it is to be made.

        Raises MediaError, Cancelled, NoSpace before a disk is full, and the errors of `render` and
        the storage.
        """
        self._refuse_if_lost()
        if found := self._stored():
            return found
        self._services.room.require()
        make = self._film
        if not self._step.spec.join:
            wanted, costs = self._wanted()
            if divided := self._divided(wanted, costs):
                return divided
            make = partial(self._made, wanted, costs)
        with work_folder(self._services.settings.data_dir) as folder:
            made = folder / self.file_name
            try:
                told = make(made)
            except MediaError:
                self._upload()  # a storage that went away in mid-cut says so
                raise
            output = Output(
                self._key, made.stat().st_size, self._content_type, told, self._checksum(made)
            )
            # What was cut need not be cut again.
            keep = self._keep
            self._patience.call(STORAGE, lambda: keep(output, made), self._heartbeat.waits)
            return output

    def cutting(self) -> Cutting | None:
        """What is to be cut, by itself or with others; none where nothing is, or in parts.

        Raises MediaError when it can't be cut.
        """
        step = self._step
        if step.division is not None or step.parent_id or step.spec.join or self._stored():
            return None
        self._services.room.require()
        wanted, costs = self._wanted()
        estimate_s = costs.estimate(work_of(wanted.plan)).seconds
        return None if self._divides and part_count(wanted.plan, estimate_s) else wanted

    def _stored(self) -> Output | None:
        try:
            return Output(self._key, self._storage.stat(self._key).size, self._content_type)
        except ObjectNotFound:
            return None

    def _upload(self) -> Upload:
        """The upload, which is there, and of its size. Raises MediaError."""
        upload = upload_of(self._services.store, self._step.job_id)
        require_stored(self._storage, upload)
        if upload.info == UNREAD:
            services = self._services
            upload = current(services.store, self._storage, upload, services.cache)
        return upload

    def _wanted(self) -> tuple[Cutting, CostModel]:
        step, upload = self._step, self._upload()
        [clip] = step.clips(upload.info)
        planned = plan(upload.info, clip, step.spec, part=step.part)
        costs = Costs(self._services.store).model()
        return Cutting(self._storage.source(upload.key), planned, costs.limit_s(planned)), costs

    def _divided(self, wanted: Cutting, costs: CostModel) -> Divided | None:
        """The parts in which a step is made that takes long; none where it is made in one."""
        if not self._divides or self._step.division is not None:
            return None
        planned = wanted.plan
        count = part_count(planned, costs.estimate(work_of(planned)).seconds)
        # What encodes by hardware here makes the whole of it: others may have another, or none.
        if not count or (planned.spec.encoded_by == "hardware" and hardware_encoder()):
            return None
        near = wanted_starts(planned, count)
        spans: Sequence[Span] = ()
        with contextlib.suppress(MediaError):  # a file that can't be read at any place
            found = entries(
                wanted.source,
                planned.info,
                near,
                cancelled=self._cancelled,
                cache=self._services.cache,
            )
            spans = divide(planned, count, found)
        if not spans:
            return None
        clip, spec = planned.clip, planned.spec
        plans = [plan(planned.info, clip, spec, part=span) for span in spans]
        return Divided(spans, [costs.estimate(work_of(each)).seconds for each in plans])

    def _made(self, wanted: Cutting, costs: CostModel, made: Path) -> Rendered:
        if self._step.division is Division.PARTS:
            self._heartbeat.stage = JOINING
            with contextlib.suppress(Unjoinable, ObjectNotFound):
                return self._render(wanted, made, self._parts(wanted.plan, made.parent))
            log.warning("step %s: its parts can't be joined; it is made whole", self._step.id)
        self._heartbeat.stage = CUTTING
        films = wanted.plan.spec.kind == "cutdown"
        if films and not self._heartbeat.progress.frame:  # it may have been begun with others
            eta_s = round(costs.estimate(work_of(wanted.plan)).seconds, 1)
            self._heartbeat.progressed(Progress(eta_s=eta_s))
        told, work = self.cut(wanted, made)
        if films and not told.copied:
            with contextlib.suppress(*DATABASE_AWAY):  # the next run tells as much
                Costs(self._services.store).note(work, sum(told.seconds.values()))
        return told

    def _alone(self, wanted: Cutting, made: Path) -> tuple[Rendered, Work]:
        return self._render(wanted, made), work_of(wanted.plan)

    def _film(self, made: Path) -> Rendered:
        step, upload = self._step, self._upload()
        self._heartbeat.stage = CUTTING
        return join(
            [self._storage.source(upload.key)],
            plan_film([upload.info], step.film_clips(upload.info), step.spec),
            made,
            on_progress=self._heartbeat.progressed,
            cancelled=self._cancelled,
            cache=self._services.cache,
        )

    def _render(self, wanted: Cutting, made: Path, parts: Sequence[Part] = ()) -> Rendered:
        with span("render", {"cutmv.step_id": self._step.id}) as traced:
            told = render(
                wanted.source,
                wanted.plan,
                made,
                on_progress=self._heartbeat.progressed,
                cancelled=self._cancelled,
                timeout_s=wanted.limit_s,
                cache=self._services.cache,
                parts=parts,
            )
            if traced:  # what FFmpeg spent its time on
                for stage, seconds in told.seconds.items():
                    traced.set_attribute(f"cutmv.ffmpeg.{stage}_s", seconds)
            return told

    def _parts(self, whole: RenderPlan, folder: Path) -> list[Part]:
        """The parts, on this machine. Raises ObjectNotFound."""
        found = []
        for part in Parts(self._services.store).of(self._step.id):
            key = part_key(part.job_id, self._step.id, part.id)
            path = self._storage.source(key)
            if path.startswith(("http://", "https://")):
                path = str(folder / part.id)
                with self._storage.open_range(key) as chunks, Path(path).open("wb") as file:
                    file.writelines(chunks)
            since = part.part[0] if part.part else 0
            found.append(Part(path, whole.start + since))
        return found

    def _checksum(self, made: Path) -> int | None:
        """The checksum of an output that people may get; nobody gets a part."""
        if self._step.parent_id:
            return None
        with made.open("rb") as file:
            return crc32_of(iter(partial(file.read, CHECKED_BYTES), b""))

    def _keep(self, output: Output, made: Path) -> None:
        self._heartbeat.stage = "storing"
        self._refuse_if_lost()
        self._storage.put_file(output.key, made, content_type=output.content_type, if_absent=True)

    def _cancelled(self) -> bool:
        return self._heartbeat.lost or self._stopping()

    def _refuse_if_lost(self) -> None:
        if self._heartbeat.lost:
            raise Cancelled("Cancelled.")
