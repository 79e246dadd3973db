"""A page that shows the exact partition of a plane: coloured, zoomable, in one file."""

from __future__ import annotations

import base64
import html
import os
from pathlib import Path
from typing import Any

import numpy as np

from whydeep.arguments import anything, file_path, instance, takes, text
from whydeep.data import check_inputs
from whydeep.errors import InputError
from whydeep.geometry import DecisionRegions, Regions
from whydeep.publish import publish
from whydeep.report._page import as_json, asset, fill, provenance_list, shell

__all__ = ["write_partition"]

_MOST_CORNERS = 20_000_000
_REGIONS = instance(
    Regions, needed="regions of a plane", suggestion="whydeep.geometry.regions(...) finds them"
)


@takes(path=file_path, found=_REGIONS, title=text, inputs=anything)
def write_partition(
    path: str | os.PathLike[str],
    found: Regions,
    *,
    title: str = "Affine pieces of a network",
    inputs: Any = None,
) -> Path:
    """Write the regions of a plane to one HTML file that opens offline and can be zoomed.

    The plane's own coordinates s and t are its axes, in units of u and v. Colours by region, by the
    layer that makes an edge, and for decision regions by class. A region that is pointed at is told
    about.

    Args:
        path: where; its folder must exist. An older file is replaced, in one step.
        found: from `whydeep.geometry.regions` or `whydeep.geometry.decision_regions`.
        title: of the page.
        inputs: to be marked, (N, *shape) or (N, n_0): each where its foot on the plane is, with its
            distance from the plane where that is not zero.

    Returns:
        The path.

    Raises:
        InputError: the file can't be written, more regions than a browser can draw, or inputs that
            are none of the network's.

    Accuracy: corners are rounded to single precision for the picture.
    Cost: 12 bytes a corner in the file; 100,000 regions are drawn in some tenths of a second, and
        the picture follows the pointer at once.

    Source: the picture is that of Humayun et al. 2023 (SplineCam), Fig. 1.

    Example:
        >>> import tempfile
        >>> from whydeep.geometry import from_layers, regions
        >>> f = from_layers([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
        >>> found = regions(f, np.zeros(2), np.eye(2)[0], np.eye(2)[1])
        >>> folder = tempfile.TemporaryDirectory()
        >>> write_partition(Path(folder.name) / "regions.html", found).name
        'regions.html'
        >>> folder.cleanup()
    """
    if len(found.vertices) > _MOST_CORNERS:
        raise InputError(
            "There are more regions than a browser can draw.",
            received=f"{found.count:,} regions",
            suggestion="a smaller window, or fewer layers: regions(..., layers=1)",
        )
    classes = found.classes if isinstance(found, DecisionRegions) else None
    names = [
        f"layer {n + 1} ({name})"
        for n, name in enumerate(found.plane.function.names[: found.plane.layers])
    ]
    if classes is not None:
        names[-1] = "decision boundary"
    chosen = "region" if classes is None else "class"
    options = ["region", "layer", *(["class"] if classes is not None else [])]
    data: dict[str, Any] = {
        "vertices": _text(found.vertices, np.float32),
        "offsets": _text(found.offsets, np.uint32),
        "layers": _text(found.edge_layers, np.int8),
        "classes": None if classes is None else _text(classes, np.uint8),
        "window": list(found.plane.window),
        "names": names,
        "marks": _marks(found.plane, inputs),
    }
    lead = f"{found.count:,} regions, on each of which the network is affine."
    if classes is not None:
        lead += f" {len(np.unique(classes))} classes."
    content = fill(
        asset("partition.html"),
        {
            "title": html.escape(title),
            "lead": lead,
            "summary": html.escape(f"{lead} Coloured by {chosen}."),
            "choices": "".join(
                f'<label><input type="radio" name="colour" value="{o}"'
                f"{' checked' if o == chosen else ''}> {o}</label>"
                for o in options
            ),
            "provenance": provenance_list(),
            "data": as_json(data),
            "script": asset("partition.js"),
        },
    )
    return publish(path, shell(title, asset("partition.css"), content))


def _marks(plane: Any, inputs: Any) -> list[list[float]]:
    """Places (s, t) of inputs on the plane, and how far from it they are."""
    if inputs is None:
        return []
    rows = check_inputs(inputs)
    size = plane.origin.size
    if rows.size != len(rows) * size:
        raise InputError(
            "These inputs can't be marked.",
            received=f"inputs of shape {rows.shape}",
            needed=f"(N, {size}), as the plane's origin has {size} numbers",
        )
    apart = rows.reshape(len(rows), size) - plane.origin.reshape(-1)
    axes = np.stack([plane.u.reshape(-1), plane.v.reshape(-1)], axis=1)
    places = np.linalg.lstsq(axes, apart.T)[0].T
    away = np.linalg.norm(apart - places @ axes.T, axis=1)
    away[away <= 1e-9 * np.linalg.norm(apart, axis=1)] = 0.0
    return [[float(f"{v:.7g}") for v in (*place, far)]
            for place, far in zip(places, away, strict=True)]  # fmt: skip


def _text(numbers: np.ndarray, kind: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, kind).tobytes()).decode("ascii")
