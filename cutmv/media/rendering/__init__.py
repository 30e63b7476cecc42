"""Rendering: outputs are ordered, made by the engine, and appear whole or not at all."""

from cutmv.media.rendering.order import Order, Rendered, Result
from cutmv.media.rendering.progress import Progress
from cutmv.media.rendering.render import render, render_together

__all__ = ["Order", "Progress", "Rendered", "Result", "render", "render_together"]
