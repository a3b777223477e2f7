"""Where instruments live: detached Ray actors in the lab's own cluster, or this process.

``ray`` is imported below this package alone, and only when a lab's settings ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labcommons.node.runtime.port import Instrument, Runtime, RuntimeFailed

if TYPE_CHECKING:
    from labcommons.node.settings import NodeSettings

__all__ = ["Instrument", "Runtime", "RuntimeFailed", "open_runtime"]


async def open_runtime(settings: NodeSettings) -> Runtime:
    """The runtime that the settings name; attached where it lives already. Raises ``RuntimeFailed``.

    Call it in the main thread: a Ray driver that was born in another thread ends with that thread.
    """
    if settings.runtime == "inprocess":
        from labcommons.node.runtime.inprocess import InProcessRuntime

        return InProcessRuntime(settings.state / "instruments")
    from labcommons.node.runtime.ray_cluster import open_ray

    # Blocks for seconds, on purpose: nothing else may begin before there is a place for it.
    return open_ray(settings.state, settings.ray.port_range, settings.ray.token_file)
