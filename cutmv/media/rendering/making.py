"""An output in the making: what the engine is asked for, and what it has made."""

import os
from dataclasses import replace
from pathlib import Path

from cutmv.media.engine.protocol import Made, Output
from cutmv.media.engine_request import output_of, reason_of
from cutmv.media.errors import CUT_FAILED, MediaError, MediaUnavailable
from cutmv.media.plan import RenderPlan
from cutmv.media.plan import plan as plan_of
from cutmv.media.products.animations import smaller
from cutmv.media.products.containers import container_named
from cutmv.media.products.memory import held_bytes
from cutmv.media.products.quality import quality_of
from cutmv.media.products.spec import SOUNDS
from cutmv.media.rendering.order import Order, Rendered, Result
from cutmv.media.rendering.progress import ProgressReader
from cutmv.media.running.files import appear
from cutmv.media.running.hardware import ByHardware
from cutmv.media.sharing.costs import weight_of
from cutmv.media.source import Readable
from cutmv.media.source_warnings import of_output


class Making:
    """An output in the making, in a folder of its own; without a result it is to be made (anew)."""

    def __init__(self, order: Order, folder: Path) -> None:
        self.plan, self._order = order.plan, order
        self.path = folder / f"made{order.destination.suffix}"
        self.output = Output(str(self.path), "", ())
        self.result: Result | None = None
        self.hardware = ByHardware(self.plan, self.path, in_parts=bool(order.parts))
        #: Whether it has appeared.
        self.there = False
        self.reader = ProgressReader(float(order.plan.length_s), order.on_progress)
        self._spent: dict[str, float] = {}
        self._read = 0

    def wanted(self) -> bool:
        """Whether the engine is to make it; what is asked for is its `output` then."""
        if self.result is not None:
            return False
        plan = self.plan
        try:
            output = output_of(plan, self.path, self.hardware.encoder, self._order.like)
        except MediaError as error:
            self.result = error
            return False
        self.output = replace(
            output,
            parts=self._order.parts,
            end=plan.end,
            holds=held_bytes(
                plan.spec, plan.width, plan.height, plan.pictures, os.cpu_count() or 1
            ),
            weight=weight_of(plan),
        )
        return True

    def take(self, made: Made) -> None:
        """Take what is made of it, unless it is too large: then it is to be made anew, smaller."""
        for name, each in made.seconds.items():
            self._spent[name] = self._spent.get(name, 0.0) + each
        self._read += made.read_bytes
        most = self.plan.spec.max_bytes
        try:
            rendered = _rendered(self.plan, made, self.path, self.hardware)
            if most is None or rendered.size_bytes <= most:
                self.result = rendered
            else:
                self.plan = _smaller(self.plan, rendered.size_bytes, most)
        except MediaError as error:
            self.fail(error)

    def fail(self, error: MediaError | MediaUnavailable) -> None:
        """Note why it failed, unless it is to be made anew, by software."""
        self.result = None if self.hardware.failed(error) else error

    def appear(self, source: Readable, *, overwrite: bool, other_s: float = 0.0) -> None:
        """Have it appear, if it is made; the engine's end took `other_s` seconds of its time."""
        if not isinstance(self.result, Rendered):
            return
        self.reader.finish(self.result.frames)
        try:
            if overwrite:
                self.path.replace(self._order.destination)
            else:
                appear(self.path, self._order.destination)
        except MediaError as error:
            self.result = error
            return
        self._spent["other"] = self._spent.get("other", 0.0) + other_s
        self.result = replace(
            self.result,
            read_bytes=self._read if source.fetched is None else source.fetched,
            requests=source.requests,
            seconds={name: round(each, 3) for name, each in self._spent.items()},
        )
        self.there = True
        self._order.on_made(self.result)


def _smaller(plan: RenderPlan, size: int, most: int) -> RenderPlan:
    """The plan of a smaller animation than one of `size` bytes. Raises MediaError if none is."""
    found = smaller(plan.animation, most / size) if plan.animation else None
    if found is None:
        raise MediaError(f"{CUT_FAILED}: the smallest is {size} bytes, not {most}: cut less.")
    return plan_of(plan.info, plan.clip, plan.spec, found)


def _rendered(plan: RenderPlan, made: Made, path: Path, hardware: ByHardware) -> Rendered:
    any_size = plan.spec.kind in SOUNDS or made.copied or plan.joined
    if not any_size and (made.width, made.height) != (plan.width, plan.height):
        raise MediaError(f"{CUT_FAILED}: the result is {made.width}×{made.height} pixels.")
    duration_s = 0.0 if plan.spec.kind == "still" else made.length_s
    container = container_named(path.suffix)
    told = None if made.copied else reason_of(plan, container)
    reason = made.reason or told
    whole = plan.spec.kind == "canvas" or (plan.spec.kind == "cutdown" and reason is not None)
    return Rendered(
        duration_s=duration_s,
        frames=made.pictures,
        size_bytes=path.stat().st_size,
        width=made.width,
        height=made.height,
        copied=made.copied,
        reason=reason,
        encoder=(hardware.encoder or container.encoder).name if whole else None,
        quality=quality_of(plan.info, plan.video, plan.spec).told if whole else None,
        sound=made.sound,
        warnings=(
            *of_output(plan, copied=made.copied > 0),
            *made.warnings,
            *([made.left_out] if made.left_out else []),
            *(hardware.warnings if whole else ()),
        ),
    )
