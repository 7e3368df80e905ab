"""Cells of the tables of the terminal."""


def interval(mean: float | None, low: float | None, high: float | None, sign: bool = True) -> str:
    if mean is None or low is None or high is None:
        return "-"
    return f"{mean:+.4f} ± {(high - low) / 2:.4f}" if sign else f"{mean:.4f} ± {(high - low) / 2:.4f}"
