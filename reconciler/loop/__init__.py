"""The loop: observe, plan, journal, enact, audit - and learn what happened by observing again."""

from reconciler.loop.done import Done
from reconciler.loop.look import look
from reconciler.loop.run import run
from reconciler.loop.tick import tick
from reconciler.loop.world import World, open_world

__all__ = ["Done", "World", "look", "open_world", "run", "tick"]
