"""Penalised regressions that give the same coefficients for the same rows in the same order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.stats.design import Design

Floats = npt.NDArray[np.float64]

_BLOCK = 4_096


def ridge_residuals(x: Design | Floats, y: Floats, penalty: Floats) -> Floats:
    """What a ridge regression of y on an intercept and x leaves, of y's shape.

    Minimises Σ (y − (1, x) β)² + Σ penalty β². x: (n, columns); y: (n,) or (n, outcomes); penalty:
    (1 + columns,), the intercept's first.
    """
    design, outcomes = Design.of(x), y.reshape(len(y), -1)
    (gram,), (cross,) = design.moments(outcomes)
    left = outcomes - design.times(np.linalg.solve(gram + np.diag(penalty), cross))
    return np.asarray(left.reshape(y.shape))


def ridge_logistic(
    x: Floats, target: npt.ArrayLike, *, ridge: float = 1.0, max_steps: int = 60,
    offset: Floats | None = None,
) -> Floats:  # fmt: skip
    """Coefficients (1 + columns,), intercept first, of a logistic model with a ridge penalty.

    Minimises Σ log loss + ridge/2 Σ β² (the intercept is free; scikit-learn's C = 1/ridge) by
    Newton's method with step halving. x: (n, columns); target: (n,), in [0, 1]. offset: (n,) log-odds
    that the model adds to. Plain sums over fixed blocks of rows: the same rows in the same order give
    the same coefficients.
    """
    goal = np.asarray(target, dtype=float)
    width = x.shape[1] + 1
    penalty = np.full(width, float(ridge))
    penalty[0] = 0.0
    weights = np.zeros(width)
    rate = min(max(float(goal.mean()), 1e-6), 1.0 - 1e-6)
    start = np.zeros(len(goal)) if offset is None else offset
    if offset is None:
        weights[0] = math.log(rate / (1.0 - rate))
    loss = _log_loss(x, goal, start, weights, penalty)
    for _ in range(max_steps):
        gradient, hessian = penalty * weights, np.diag(penalty + 1e-9)
        for begin in range(0, len(goal), _BLOCK):
            block = x[begin : begin + _BLOCK]
            risk = special.expit(start[begin : begin + _BLOCK] + weights[0] + block @ weights[1:])
            error = risk - goal[begin : begin + _BLOCK]
            curve = risk * (1.0 - risk)
            gradient[0] += error.sum()
            gradient[1:] += block.T @ error
            # A matrix by its own transpose: half the work of a product of two.
            root = np.sqrt(curve)
            scaled = block * root[:, None]
            hessian[0, 0] += curve.sum()
            edge = root @ scaled
            hessian[0, 1:] += edge
            hessian[1:, 0] += edge
            hessian[1:, 1:] += scaled.T @ scaled
        step = np.linalg.lstsq(hessian, gradient, rcond=1e-13)[0]
        scale, previous = 1.0, loss
        while scale > 1e-6:
            loss = _log_loss(x, goal, start, weights - scale * step, penalty)
            if loss <= previous + 1e-12 * abs(previous):
                break
            scale /= 2.0
        else:
            break
        weights = weights - scale * step
        if float(np.abs(scale * step).max()) < 1e-9:
            break
    return weights


def _log_loss(x: Floats, goal: Floats, offset: Floats, weights: Floats, penalty: Floats) -> float:
    linear = offset + weights[0] + x @ weights[1:]
    loss = np.logaddexp(0.0, linear) - goal * linear
    return float(loss.sum() + 0.5 * (penalty * weights**2).sum())
