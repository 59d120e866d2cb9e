"""skdr-eval 0.12: its evaluator and its recommendation, of the requests that a candidate moves.

It knows no request that keeps its model, so that the rest is left out and its figures are scaled by the
share that moves. Reward is −unit cost; the baseline of its recommendation is the logged mean, and
`deploy` is adoption. The candidate is a model that expects nothing of its choice and 10¹² of all others,
which `evaluate_sklearn_models` turns into probabilities of 1 and 0. That evaluator estimates propensities
and takes none; logged ones go the way that it goes inside: `fit_outcome_crossfit`, `dr_value_with_clip`
at its own clips, `block_bootstrap_ci`, `build_evaluation_artifact`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import skdr_eval
from skdr_eval.core import build_design

from benchmarks.routing_peers.case import Case, Word

Floats = npt.NDArray[np.float64]
ESTIMATORS = ("DR", "SNDR")
SEED, N_BOOT = 0, 400
CONTEXT = ("use_case", "account_tier", "region")


class Rules:
    """A finished model, as skdr-eval wants one. wanted: (contexts, models) whether it is chosen there;
    the use is read off the first columns of the features, the model off the last."""

    def __init__(self, wanted: npt.NDArray[np.bool_]) -> None:
        self.wanted = wanted

    def fit(self, x: Floats, y: Floats) -> Rules:
        return self

    def predict(self, x: Floats) -> Floats:
        n_uses, n_models = self.wanted.shape
        use, model = x[:, :n_uses].argmax(axis=1), x[:, -n_models:].argmax(axis=1)
        return np.where(self.wanted[use, model], 0.0, 1e12)


def judge(case: Case) -> dict[str, Word]:
    """Its words by DR and by SNDR."""
    order = np.argsort(case.frame["ts_us"].to_numpy(), kind="stable")
    order = order[case.moved[order]]
    rows, reward, target = case.frame.iloc[order], -case.unit_cost[order], case.target[order]
    models = sorted(set(case.frame["model_name"]))
    logs, uses = _logs(rows, reward, models)
    wanted = np.array(
        [[bool((target[rows["use_case"] == u] == m).any()) for m in models] for u in uses]
    )
    base = float(reward.mean())
    try:
        if "routing_propensity" in rows.columns:
            artifact = _with_propensities(logs, rows, models, target, base)
        else:
            artifact = skdr_eval.evaluate_sklearn_models(
                logs, {"c": Rules(wanted)}, fit_models=False, policy_train="all", y_col="reward",
                random_state=SEED, ci_bootstrap=True, baseline="logged",
            )  # fmt: skip
    except (ValueError, skdr_eval.SkdrEvalError):
        return {f"skdr-eval, {name}": Word(False) for name in ESTIMATORS}
    share = len(rows) / len(case.frame)
    words = {}
    for name in ESTIMATORS:
        row = artifact.report[artifact.report["estimator"] == name].iloc[0]
        value, low, high = (
            share * (float(row[c]) - base) for c in ("V_hat", "ci_lower", "ci_upper")
        )
        verdict = artifact.recommendation("c", estimator=name, baseline=base).verdict
        words[f"skdr-eval, {name}"] = Word(verdict == "deploy", value, low, high)
    return words


def _logs(rows: pd.DataFrame, reward: Floats, models: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Its table, and the uses in the order of their columns."""
    columns: dict[str, Any] = {}
    for name in CONTEXT:
        for value in sorted(set(rows[name])):
            columns[f"cli_{name}_{value}"] = (rows[name] == value).to_numpy(dtype=float)
    columns["cli_prompt_tokens"] = np.log(rows["prompt_tokens"].to_numpy(dtype=float))
    columns["arrival_ts"] = rows["ts_us"].to_numpy()
    columns["action"] = rows["model_name"].to_numpy()
    columns["reward"] = reward
    columns |= {f"{model}_elig": 1 for model in models}
    return pd.DataFrame(columns), sorted(set(rows["use_case"]))


def _with_propensities(
    logs: pd.DataFrame,
    rows: pd.DataFrame,
    models: list[str],
    target: npt.NDArray[np.str_],
    base: float,
) -> Any:
    """The same evaluation with the log's own probabilities of what was chosen; the others, of which it
    reads none, share the rest, and so its diagnostics of whole matrices of propensities are left out."""
    design = build_design(logs, y_col="reward")
    n, k = design.elig.shape
    own = rows["routing_propensity"].to_numpy(dtype=float)
    e = np.repeat(((1 - own) / (k - 1))[:, None], k, axis=1)
    e[np.arange(n), design.A] = own
    pi = (target[:, None] == np.array(models)[None, :]).astype(float)
    q, _ = skdr_eval.fit_outcome_crossfit(design.X_obs, design.Y, random_state=SEED)
    found = skdr_eval.dr_value_with_clip(e, pi, design.Y, q, design.A, design.elig)
    matched = pi[np.arange(n), design.A] > 0
    report = []
    for name in ESTIMATORS:
        result = found[name]
        weights = np.where(matched, np.minimum(1 / own, result.clip), 0.0)
        scale = n / weights.sum() if name == "SNDR" else 1.0
        low, high = skdr_eval.block_bootstrap_ci(
            q + scale * weights * (design.Y - q), None, np.array([result.V_hat]), n_boot=N_BOOT,
            random_state=SEED,
        )  # fmt: skip
        figures = ("V_hat", "SE_if", "clip", "ESS", "tail_mass", "MSE_est", "match_rate", "min_pscore",
                   "pscore_q10", "pscore_q05", "pscore_q01", "pareto_k")  # fmt: skip
        report.append(
            {"model": "c", "estimator": name, **{f: getattr(result, f) for f in figures},
             "ci_lower": low, "ci_upper": high}
        )  # fmt: skip
    return skdr_eval.build_evaluation_artifact(
        report=pd.DataFrame(report), detailed={"c": found}, n_samples=n, random_state=SEED, alpha=0.05,
        baseline_kind="logged", baseline_value=base,
    )  # fmt: skip
