"""`cutmv probe`: show what is in a video, as the engine sees it."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import click

from cutmv.cli.output import print_json, printable
from cutmv.media import MediaError, MediaUnavailable, survey

#: What people call the containers that FFmpeg names otherwise.
CONTAINERS = {"mov": "MP4 or QuickTime", "matroska": "Matroska or WebM", "avi": "AVI",
              "mpegts": "MPEG-TS"}  # fmt: skip
TYPES = {"video": "picture", "audio": "sound", "subtitle": "subtitles"}
FIELDS = {"tff": "interlaced, upper field first", "bff": "interlaced, lower field first"}


@click.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def probe(source: str, *, as_json: bool) -> None:
    """Show what is in FILE, or in the video at URL, as cutting sees it.

    Exit codes: 0 done, 1 failed, 2 bad usage.
    """
    try:
        found = survey(source)
    except (MediaError, MediaUnavailable) as error:
        if as_json:
            print_json(input=source, error=str(error))
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    if as_json:
        print_json(input=source, **found)
        return
    for label, text in _screen(found):
        click.echo(printable(f"{label:9} {text}".rstrip()))


def _screen(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of a screen: what each is about, and what is to be told."""
    yield (
        "file",
        _list(
            CONTAINERS[found["container"]],
            f"{found['duration_s']:.3f} s",
            f"begins at {found['start_s']:.3f} s" if found["start_s"] else None,
            f"{found['size_bytes']:,} bytes",
            _rate(found["bit_rate"]),
            found["timecode"] and f"timecode {found['timecode']}",
        ),
    )
    for stream in found["streams"]:
        picture = found["picture"]
        chosen = picture is not None and stream["index"] == picture["index"]
        cover = "attached_pic" in stream["dispositions"]
        label = "cover" if cover else TYPES.get(stream["type"], stream["type"])
        yield label, _stream(stream, picture if chosen else None)
        if chosen:
            yield "", _times(stream, picture)
            yield "", _groups(found)
            yield "", _smart(found["smart_cut"])
    for chapter in found["chapters"]:
        yield "chapter", f"{chapter['start']:.3f} to {chapter['end']:.3f} s: {chapter['title']}"
    for warning in found["warnings"]:
        yield "warning", warning


def _stream(stream: dict[str, Any], picture: dict[str, Any] | None) -> str:
    own = _picture(stream, picture) if picture else _other(stream)
    flags = [each.replace("_", " ") for each in stream["dispositions"] if each != "attached_pic"]
    language = stream["language"] if stream["language"] != "und" else None
    told = [language, stream["title"] and f"“{stream['title']}”", *flags]
    codec = " ".join(filter(None, (stream["codec"], stream["profile"])))
    return f"#{stream['index']} {codec or 'of a codec that nothing here decodes'}" + "".join(
        f", {each}" for each in (*own, _rate(stream["bit_rate"]), *told) if each
    )


def _picture(stream: dict[str, Any], picture: dict[str, Any]) -> list[str | None]:
    shown = f"{picture['width']}×{picture['height']}"
    coded = f"{picture['coded_width']}×{picture['coded_height']}"
    colours = [picture[f"color_{each}"] for each in ("space", "primaries", "transfer")]
    rate = float(Fraction(picture["frame_rate"]))
    varies = "frames/s on the average, not evenly spaced" if picture["variable"] else "frames/s"
    return [
        _level(stream),
        shown if shown == coded else f"{shown} (coded {coded})",
        picture["rotation"] and f"turned by {picture['rotation']}°",
        "mirrored" if picture["mirrored"] else None,
        f"{rate:.6g} {varies}",
        FIELDS.get(picture["interlaced"], "progressive"),
        picture["pix_fmt"],
        "/".join(each or "untold" for each in colours) if any(colours) else "colours untold",
        picture["color_range"] and f"range {picture['color_range']}",
        "HDR" if picture["hdr"] else None,
        picture["quantizer"] and f"mean quantizer {picture['quantizer']:.3g}",
    ]


def _level(stream: dict[str, Any]) -> str | None:
    """The level, as people write it, of the codecs that have one."""
    steps = {"h264": 10, "hevc": 30}.get(stream["codec"])
    return f"level {stream['level'] / steps:g}" if steps and stream["level"] else None


def _other(stream: dict[str, Any]) -> list[str | None]:
    if stream["type"] == "audio" and stream["codec"]:
        length = stream["duration"] and f"{float(Fraction(stream['duration'])):.3f} s"
        begins = float(Fraction(stream["shown"] or stream["start"] or 0))
        return [
            f"{stream['sample_rate']} Hz",
            stream["layout"],
            length,
            f"begins at {begins:.3f} s" if begins else None,
        ]
    return [f"{stream['width']}×{stream['height']}"] if stream.get("width") else []


def _times(stream: dict[str, Any], picture: dict[str, Any]) -> str:
    begins = picture["start_s"]
    told = f"shown from {begins:.3f} to {begins + picture['duration_s']:.3f} s"
    hidden = stream["hidden"]
    return f"{told}, {hidden} frames before that are hidden by an edit list" if hidden else told


def _groups(found: dict[str, Any]) -> str:
    keys = found["keyframes"]
    if keys is None:
        return "one keyframe, as far as was looked"
    kind = "open" if found["open_groups"] else "closed"
    far = "" if keys["all"] else ", as far as was looked"
    usual, longest = keys["usual_s"], keys["longest_s"]
    most = f", {longest:.3f} s at most" if longest > 1.01 * usual else ""
    return f"a keyframe each {usual:.3f} s{most}{far}; {kind} groups"


def _smart(smart: dict[str, Any]) -> str:
    return "can be smart-cut" if smart["possible"] else f"is encoded whole: {smart['reason']}"


def _rate(bits: int | None) -> str | None:
    return f"{bits / 1000:.0f} kbit/s" if bits else None


def _list(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)
