"""One film of many clips: each clip's picture is cut by itself, then all are joined.

`film_plan` plans the pieces, `matching` says how those of several sources follow one another, and
`film` makes them.
"""

from cutmv.media.montage.film import join
from cutmv.media.montage.film_plan import FilmClip, FilmPlan, plan_film

__all__ = ["FilmClip", "FilmPlan", "join", "plan_film"]
