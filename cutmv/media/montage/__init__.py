"""One film of many clips of a source: each clip's picture is cut by itself, then all are joined."""

from cutmv.media.montage.film import FilmPlan, join, plan_film

__all__ = ["FilmPlan", "join", "plan_film"]
