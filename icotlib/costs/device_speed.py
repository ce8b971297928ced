"""Seconds per step on a device, from operations and parameters: assumed, given or measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, nnls

from icotlib.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class DeviceSpeed:
    """Seconds of training on a device, for each step, operation and parameter.

    A step costs its launch, its arithmetic, and the memory traffic of the optimizer:
    `seconds = per_step + per_flop * operations + per_parameter * parameters`.
    """

    #: The device in plans and tables.
    name: str
    per_step: float
    per_flop: float
    per_parameter: float

    def seconds(self, steps: float, flops: float, parameters: float) -> float:
        """Seconds of so many steps that take so many operations together."""
        return steps * (self.per_step + self.per_parameter * parameters) + self.per_flop * flops


#: Peak operations per second of an H100 without sparsity, from its data sheet.
H100_PEAK = {"bf16": 989e12, "fp32": 67e12}

#: Assumed: the share of the peak that training reaches.
H100_SHARE = {"bf16": 0.4, "fp32": 0.6}

#: Assumed: seconds to launch a step.
H100_LAUNCH = 0.02

#: Assumed: bytes of memory traffic per second, 80% of the data sheet's.
H100_MEMORY = 0.8 * 3.35e12

#: Bytes that clipping and AdamW read and write per step for every fp32 parameter.
BYTES_MOVED = 40


def h100(precision: str) -> DeviceSpeed:
    """An H100 at a precision (fp32 without TF32); assumed, not measured.

    Raises `ConfigError` for int8.
    """
    if precision == "int8":
        raise ConfigError("train.precision=int8 is for CPUs: leave out --speed h100")
    kind = "fp32" if precision == "fp32" else "bf16"  # fp16 runs at the same rate as bf16
    per_flop = 1 / (H100_PEAK[kind] * H100_SHARE[kind])
    name = f"an H100 as assumed in {precision}"
    return DeviceSpeed(name, H100_LAUNCH, per_flop, BYTES_MOVED / H100_MEMORY)


def read_speed(text: str, precision: str) -> DeviceSpeed:
    """The speed that `--speed` names.

    Args:
        text: `h100`, TFLOP/s as a number, or a table written by `icot benchmark --costs`.
        precision: that of the run, for `h100`.

    Raises `ConfigError` for anything else.
    """
    if text.lower() == "h100":
        return h100(precision)
    if Path(text).suffix == ".csv":
        table = _measured_table(text)
        device, measured = table.device.iloc[0], table.precision.iloc[0]
        return fit_speed(table, f"{device} as measured in {measured}, {Path(text).name}")
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ConfigError(
            f"--speed {text!r} is neither h100, nor TFLOP/s such as 40, nor a table of "
            f"`icot benchmark --costs`.{did_you_mean(text, ['h100'])}"
        )
    return DeviceSpeed(f"{rate:g} TFLOP/s", 0.0, 1e-12 / rate, 0.0)


def precision_at(text: str, asked: str) -> str:
    """The precision of a run on the device that `--speed` names: `auto` is bf16 on an H100, and in
    a table the one that was measured.

    Args:
        text: as for `read_speed`; asked: `train.precision`.
    """
    if asked != "auto":
        return asked
    if text.lower() == "h100":
        return "bf16"
    if Path(text).suffix == ".csv":
        return str(_measured_table(text).precision.iloc[0])
    return asked


#: The columns of a table of measured steps.
_NUMBERS = ("seconds", "flops", "parameters")


def _measured_table(path: str) -> pd.DataFrame:
    """A table that `icot benchmark --costs` wrote. Raises `ConfigError` for anything else."""
    try:
        table = pd.read_csv(path)
        numbers = table[[*_NUMBERS]].apply(pd.to_numeric)
        known = {"device", "precision"} <= set(table.columns)
    except FileNotFoundError:
        raise ConfigError(f"--speed {path}: no such file") from None
    except (OSError, ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        raise ConfigError(
            f"--speed {path}: not a table of `icot benchmark --costs` ({error})"
        ) from None
    if not known or len(table) < 3 or not (numbers > 0).all(axis=None):
        raise ConfigError(
            f"--speed {path}: not a table of `icot benchmark --costs`, which has a device, a "
            "precision, and at least three kinds of step with their seconds, flops and parameters"
        )
    return table.assign(**{name: numbers[name] for name in _NUMBERS})


def fit_speed(table: pd.DataFrame, name: str = "fitted") -> DeviceSpeed:
    """The speed that fits measured steps best, by least squares of log seconds.

    Args:
        table: columns seconds, flops and parameters, one row per kind of step, at least three.

    Raises `ConfigError` for fewer rows.
    """
    if len(table) < 3:
        raise ConfigError(f"three coefficients need three kinds of step, got {len(table)}")
    terms = np.column_stack([np.ones(len(table)), table.flops, table.parameters]).astype(float)
    seconds = table.seconds.to_numpy(dtype=float)
    scale = terms.max(axis=0)
    relative = terms / scale / seconds[:, None]
    start = nnls(relative, np.ones(len(table)))[0]  # start at the least squares of relative errors

    def error(coefficients: np.ndarray) -> np.ndarray:
        return np.log(relative @ coefficients)

    # A coefficient at its bound, zero, might never leave it; all start above.
    start = start.clip(min=1e-3 * seconds.min())
    fitted = least_squares(error, start, bounds=(0, np.inf), x_scale=start, xtol=1e-12, ftol=1e-12)
    return DeviceSpeed(name, *(fitted.x / scale))


def predicted(table: pd.DataFrame, speed: DeviceSpeed) -> list[float]:
    """Seconds of one step for each row of a table with columns flops and parameters."""
    return [speed.seconds(1, row.flops, row.parameters) for row in table.itertuples()]
