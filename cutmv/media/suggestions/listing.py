"""Write suggestions as a list of clips, which `parse_clip_list` reads."""

from cutmv.media.suggestions.choosing import Suggestions


def clip_list(suggestions: Suggestions) -> str:
    """A clip and its label a line, each below a comment with its score and reasons."""
    lines = [f"# {note}" for note in suggestions.notes]
    for each in suggestions.clips:
        lines.append(f"# {each.score:.2f}: {'; '.join(each.reasons)}")
        lines.append(f"{each.text} {each.label}")
    return "".join(f"{line}\n" for line in lines)
