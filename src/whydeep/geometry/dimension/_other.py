"""The long tail of estimators: scikit-dimension's, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from whydeep.data import check_inputs
from whydeep.errors import UnsupportedError
from whydeep.geometry.dimension._result import Dimension

__all__ = ["OTHERS", "other_dimension"]

OTHERS = ("lPCA", "CorrInt", "DANCo", "ESS", "FisherS", "KNN", "MADA", "MiND_ML", "MOM", "TLE")


def other_dimension(x: Any, method: str) -> Dimension:
    """An estimate by scikit-dimension with its own defaults; it has no error bar.

    Source: Bac, Mirkes, Gorban, Tyukin and Zinovyev 2021, "scikit-dimension".
    """
    rows = check_inputs(x)
    try:
        import skdim  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            f"{method} is an estimator of scikit-dimension, which is not installed.",
            received=f"method={method!r}",
            suggestion='pip install scikit-dimension, or method="twonn", "mle" or "gride"',
        ) from error
    distinct = np.unique(rows, axis=0)
    fitted = getattr(skdim.id, method)().fit(distinct)
    return Dimension(
        float(fitted.dimension_), float("nan"), method, 0, len(distinct),
        len(rows) - len(distinct), 0, float("nan"),
        "Bac, Mirkes, Gorban, Tyukin and Zinovyev 2021, scikit-dimension",
    )  # fmt: skip
