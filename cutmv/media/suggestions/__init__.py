"""Suggestions of clips: where a video may well be cut, and why.

`analysing` has the engine look at a video and listen to it, which needs PySceneDetect; what it
finds is an `analysis`, which can be kept. `choosing` chooses clips by one, with a score and the
reasons of each (`scoring`), and `listing` writes them as a list of clips.
"""

from cutmv.media.suggestions.analysing import analyse, analysis_limit_s
from cutmv.media.suggestions.analysis import Analysis
from cutmv.media.suggestions.choosing import (
    MOST_SUGGESTED,
    SHORTEST_SUGGESTED_S,
    SUGGESTED_CLIPS,
    SUGGESTED_S,
    BeginOn,
    Suggestion,
    Suggestions,
    suggest,
)
from cutmv.media.suggestions.listing import clip_list

__all__ = [
    "MOST_SUGGESTED",
    "SHORTEST_SUGGESTED_S",
    "SUGGESTED_CLIPS",
    "SUGGESTED_S",
    "Analysis",
    "BeginOn",
    "Suggestion",
    "Suggestions",
    "analyse",
    "analysis_limit_s",
    "clip_list",
    "suggest",
]
