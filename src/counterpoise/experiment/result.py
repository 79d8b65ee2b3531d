"""The result of a comparison: records and failures, as tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from counterpoise._extras import extra
from counterpoise._files import replacing
from counterpoise._html import html_paragraph
from counterpoise.experiment.parallel import Failure
from counterpoise.runs import RunRecord

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["ComparisonResult"]


class ComparisonResult(NamedTuple):
    """Records and failures of a comparison. In a notebook it is shown as the finding, the action and a table.

    Attributes:
        records: One record per finished run.
        failures: Runs and outputs that failed, each with its reason.

    Example:
        >>> from counterpoise.runs import Metric, RowId
        >>> runs = [RunRecord(f"k{s}", "digits", RowId("joint"), s, metrics=[Metric("accuracy", 0.5 + s / 10)])
        ...         for s in (0, 1)]
        >>> result = ComparisonResult(runs, [])
        >>> records, failures = result
        >>> result.to_pandas(compact=True)[["method", "score", "seeds"]].values.tolist()
        [['joint', 0.55, 2]]
    """

    records: list[RunRecord]
    failures: list[Failure]

    def to_pandas(self, *, compact: bool = False, reference: str = "joint") -> pd.DataFrame:
        """Return the numbers as a data frame.

        Args:
            compact: Whether to return one row per data set and method with the score, its difference to the reference,
                the score with one modality corrupted and the relative time of a step, instead of one row per data set,
                method and metric.
            reference: Row to which the others are compared.
        """
        from counterpoise.report.tables import compact_table, comparison_table

        return (compact_table if compact else comparison_table)(self.records, reference=reference)

    def to_csv(self, path: Path | str, *, compact: bool = False) -> Path:
        """Write `to_pandas` as CSV and return the path.

        Raises:
            OutputError: If the file cannot be written.
        """
        frame = self.to_pandas(compact=compact)
        with replacing(path) as temporary:
            frame.to_csv(temporary, index=False)
        return Path(path)

    def to_parquet(self, path: Path | str, *, compact: bool = False) -> Path:
        """Write `to_pandas` as Parquet and return the path.

        Raises:
            MissingExtraError: If pyarrow is not installed.
            OutputError: If the file cannot be written.
        """
        with extra("data"):
            import pyarrow  # noqa: F401
        frame = self.to_pandas(compact=compact)
        with replacing(path) as temporary:
            frame.to_parquet(temporary, index=False)
        return Path(path)

    def plot(self, ax: Axes | None = None) -> Axes | np.ndarray:
        """Draw the test score of every method with its interval.

        Args:
            ax: Axes to draw on, if there is one data set; None makes a figure.

        Returns:
            ``ax``, or the array of the new figure's Axes, one per data set.

        Raises:
            ConfigError: If ``ax`` is given and there are several data sets.
        """
        from counterpoise.report.figures.write import plot_scores

        return plot_scores(self.records, ax)

    def __repr__(self) -> str:
        return f"ComparisonResult({len(self.records)} records, {len(self.failures)} failures)"

    def _repr_html_(self) -> str:
        from counterpoise.report.tables import to_html

        parts = [to_html(self.records)] if self.records else [html_paragraph("No run has finished.")]
        return "".join([*parts, *(html_paragraph(f"failed: {failure}") for failure in self.failures)])
