"""What produced a result: versions, device, time."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform

__all__ = ["provenance"]

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "xarray")


def provenance() -> dict[str, str]:
    """Versions of what computed, the kind of device, and the time in UTC.

    Example:
        >>> list(provenance())[:3]
        ['whydeep', 'python', 'jax']
    """
    import jax

    from whydeep import __version__

    device = jax.devices()[0]
    now = dt.datetime.now(dt.UTC)
    return {
        "whydeep": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device.platform if device.platform == "cpu" else device.device_kind,
        "time": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
