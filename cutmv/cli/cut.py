"""`cutmv cut`: cut clips of a local video, without a server."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import Progress, TaskID

from cutmv.cli.archive import refuse_unwritable, refuse_zip_over, write_zip
from cutmv.cli.clip_lists import read_clips, read_film
from cutmv.cli.output import (
    output_option,
    overwrite_option,
    printable,
    progress_bars,
    verbose_option,
)
from cutmv.cli.products import WithProducts, product_options
from cutmv.cli.signals import note_signals
from cutmv.jobs import FILM, Wanted, clip_stems, film_clip, film_text, output_name, outputs_of
from cutmv.media import (
    Cancelled,
    FilmPlan,
    LabelledClip,
    MediaError,
    MediaInfo,
    MediaUnavailable,
    Order,
    OutputSpec,
    Rendered,
    RenderPlan,
    Result,
    join,
    plan,
    plan_film,
    probe,
    render_together,
    time_limit_s,
)
from cutmv.media import Progress as RenderProgress


@click.command(cls=WithProducts)
@click.argument(
    "sources",
    metavar="INPUT...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False),
)
@click.option(
    "--clip",
    "clips",
    multiple=True,
    metavar="START-END",
    help="A clip, as seconds, MM:SS.mmm, 1m30s or HH:MM:SS:FF, from the end (-10) or to the `end`;"
    " START+LENGTH too; perhaps with a label. May be repeated.",
)
@click.option(
    "--clips",
    "lists",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="A list of clips, - for standard input: a clip and its label a line, chapters, CSV or"
    " EDL. May be repeated.",
)
@product_options
@output_option
@click.option(
    "--zip",
    "archive",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also put all results into one ZIP, unless one fails.",
)
@overwrite_option
@verbose_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def cut(
    *,
    sources: tuple[str, ...],
    folder: Path,
    archive: Path | None,
    overwrite: bool,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Cut clips of INPUT here and now, without a server.

    Results are named INPUT-LABEL-SHAPE, or INPUT-NN-SHAPE for clips without a label. The outputs of
    a clip are made by one decode; one that fails voids no other. With --join there may be several
    INPUTs: each is in the film whole, or by clips that begin with its name ("B.mov 0:10-0:25").
    Exit codes: 0 done, 1 failed, 2 bad usage.
    """
    made: dict[Path, dict[str, Any]] = {}
    failed: list[dict[str, Any]] = []
    failure: str | None = None
    received = note_signals()

    def cancelled() -> bool:
        return bool(received)

    def there(one: Cut, rendered: Rendered) -> None:
        made[one.path] = {**one.to_dict(), **rendered.to_dict()}

    results: list[Path] = []
    try:
        # All are planned before the first is cut: a mistake in the last must not waste the others.
        cuts = _plan(sources, folder, cancelled, **wanted)
        results = [one.path for one in chain.from_iterable(cuts)]
        if archive:
            refuse_zip_over(archive, [*map(Path, sources), *results])
        if not overwrite:
            _refuse_to_replace([*results, *([archive] if archive else [])])
        if archive:
            refuse_unwritable(archive)
        folder.mkdir(parents=True, exist_ok=True)
        with progress_bars() as bars:
            tasks = [[bars.add_task(escape(o.title), total=100.0) for o in each] for each in cuts]
            for together, of_clip in zip(cuts, tasks, strict=True):
                found = _make(
                    sources,
                    together,
                    bars,
                    of_clip,
                    cancelled=cancelled,
                    there=there,
                    overwrite=overwrite,
                )
                for one, result in zip(together, found, strict=True):
                    if isinstance(result, Exception):
                        failed.append({**one.to_dict(), "error": str(result)})
                if any(isinstance(result, MediaUnavailable) for result in found):
                    break  # the others would fail by it, too
        if archive and made and not failed:
            write_zip(results, archive, overwrite=overwrite)
    except (MediaError, MediaUnavailable) as error:
        failure = str(error)
    except Cancelled:
        failure = f"Ended by {received[0].name} before all was cut."
    except OSError as error:
        failure = f"{error.filename or folder}: {error.strerror}"
    in_order = [made[path] for path in results if path in made]
    _tell(", ".join(sources), in_order, failed, failure, as_json=as_json)


def _tell(
    source: str,
    made: list[dict[str, Any]],
    failed: list[dict[str, Any]],
    failure: str | None,
    *,
    as_json: bool,
) -> None:
    """Print what became of all; exit with 1 when something failed."""
    errors = [f"{one['path']}: {one['error']}" for one in failed]
    errors += [failure] if failure is not None else []
    if as_json:
        error = errors[0] if errors else None
        document = {"input": source, "outputs": made, "failed": failed, "error": error}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        for output in made:
            click.echo(output["path"])
            click.echo(f"  {_how(output)}", err=True)
            if output["encoder"]:
                click.echo(f"  {output['encoder']} at {output['quality']}", err=True)
            for warning in output["warnings"]:
                click.echo(f"  {warning}", err=True)
    for error in errors:
        click.echo(f"Error: {error}", err=True)
    if errors:
        sys.exit(1)


@dataclass(frozen=True)
class Cut:
    """One output to make: the clip as the user wrote it and named it, how to render it, and where.

    `limit_s` is its time limit in seconds.
    """

    clip: LabelledClip
    spec: OutputSpec
    plan: RenderPlan | FilmPlan
    path: Path
    limit_s: float

    @property
    def title(self) -> str:
        """The title of its progress bar."""
        return f"{printable(self.clip.label or self.clip.text)} {self.spec.named}"

    def to_dict(self) -> dict[str, Any]:
        """What it is, as JSON has it."""
        ids = {"path": str(self.path), "clip": self.clip.text, "label": self.clip.label or None}
        return {**ids, "kind": self.spec.kind, "aspect": self.spec.aspect}


def _plan(
    sources: tuple[str, ...],
    folder: Path,
    cancelled: Callable[[], bool],
    *,
    clips: tuple[str, ...],
    lists: tuple[str, ...],
    wanted: Wanted,
) -> list[list[Cut]]:
    """The outputs to make of each clip."""
    source, several = sources[0], len(sources) > 1
    if several and not wanted.join:
        raise click.UsageError("Several files can only be joined: give one, or --join.")
    if not clips and not lists and not several:
        raise click.UsageError("Missing option '--clip' or '--clips'.")
    infos = [probe(each, cancelled=cancelled) for each in sources]
    info = infos[0]
    try:
        if several:
            of_several = read_film(clips, lists, sources, [each.times for each in infos])
            return [_films(sources, folder, of_several, infos, wanted)]
        found = read_clips(clips, lists, info.times)
    except MediaError as error:
        raise click.UsageError(str(error)) from error
    if wanted.join:
        return [_films(sources, folder, [(0, each) for each in found], infos, wanted)]
    cuts = []
    stems = clip_stems(source, [each.label for each in found])
    for each, stem in zip(found, stems, strict=True):
        of_clip = []
        for spec in outputs_of(wanted):
            path = folder / output_name(stem, spec, info)
            limit_s = time_limit_s(info, each.clip, spec)
            of_clip.append(Cut(each, spec, plan(info, each.clip, spec), path, limit_s))
        cuts.append(of_clip)
    return cuts


def _films(
    sources: tuple[str, ...],
    folder: Path,
    found: list[tuple[int, LabelledClip]],
    infos: list[MediaInfo],
    wanted: Wanted,
) -> list[Cut]:
    """One film of all clips, each of a source by its place, in each shape."""
    first, clip = found[0]
    [stem] = clip_stems(sources[first], [FILM])
    films = []
    of_film = [film_clip(each, place) for place, each in found]
    if len(sources) > 1:  # what has no label is called by its file
        of_film = [
            replace(each, text=f"{Path(sources[each.source]).stem} {each.text}") for each in of_film
        ]
    for spec in outputs_of(wanted):
        film = plan_film(infos, of_film, spec)
        clips = LabelledClip(clip.clip, film_text([each for _, each in found]), FILM)
        path = folder / output_name(stem, spec, infos[first])
        films.append(Cut(clips, spec, film, path, film.limit_s))
    return films


def _refuse_to_replace(paths: list[Path]) -> None:
    """Raise MediaError when a result is there already."""
    there = [path for path in paths if os.path.lexists(path)]
    if there:
        others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise MediaError(
            f"{there[0]} is there already{others}: name another folder by -o, or --overwrite."
        )


def _make(
    sources: tuple[str, ...],
    together: list[Cut],
    bars: Progress,
    tasks: list[TaskID],
    *,
    cancelled: Callable[[], bool],
    there: Callable[[Cut, Rendered], None],
    overwrite: bool,
) -> list[Result]:
    """Make the outputs of one clip, each of which has a progress bar; `there` is told of each."""

    def shown(task: TaskID) -> Callable[[RenderProgress], None]:
        return lambda now: bars.update(task, completed=now.percent)

    orders: list[Order] = []
    films: list[Result] = []
    for one, task in zip(together, tasks, strict=True):
        if isinstance(one.plan, RenderPlan):
            orders.append(Order(one.plan, one.path, shown(task), on_made=partial(there, one)))
            continue
        try:
            film = join(
                sources,
                one.plan,
                one.path,
                on_progress=shown(task),
                cancelled=cancelled,
                overwrite=overwrite,
            )
            there(one, film)
            films.append(film)
        except (MediaError, MediaUnavailable) as error:
            films.append(error)
    if films:
        return films
    return render_together(
        sources[0],
        orders,
        cancelled=cancelled,
        timeout_s=sum(one.limit_s for one in together),
        overwrite=overwrite,
    )


def _how(output: dict[str, Any]) -> str:
    """In a line what of an output is copied and what is encoded."""
    frames, copied = output["frames"], output["copied"]
    encoded, parts = frames - copied, []
    if copied:
        all_of = f"all {frames}" if not encoded else f"{copied} of {frames}"
        parts.append(f"{all_of} frames copied" + (f", {encoded} encoded" if encoded else ""))
    elif frames:
        why = f" ({output['reason']})" if output["reason"] else ""
        parts.append(f"{frames} frame{'s' * (frames > 1)} encoded{why}")
    if output["sound"]:
        parts.append(f"sound {output['sound']}")
    return "; ".join(parts)
