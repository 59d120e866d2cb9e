"""This project: the log is made from its rows, and judged as the routing view judges it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from analysis import contract
from analysis.telemetry.requests import Requests
from analysis.views.routing_backtest import backtest
from analysis.views.routing_decision import recommend
from analysis.views.routing_doubts import doubts
from analysis.views.routing_log import log_of
from analysis.views.routing_plan import plan
from benchmarks.routing_peers.case import Case, Word
from tests.views.routing_worlds import policy


def judge(case: Case) -> dict[str, Word]:
    """Silent where the log is below the floors: what it would say there is not meant to be read."""
    of, frame = policy(case.moves), case.frame
    choices = (
        frame.groupby(["use_case", "account_tier", "model_name"]).size().rename("n").reset_index()
    )
    telemetry: Any = SimpleNamespace(contract=contract.load(), columns=tuple(frame.columns))
    log = log_of(Requests(frame, len(frame), len(frame), 0), choices, telemetry, of)
    (candidate,) = of.routing.candidates
    result = backtest(log, of, plan(log, of, candidate.rules or ()))
    found = doubts(log, result) if result.saving is not None else None
    p = None if result.saving is None else result.saving.p_greater
    verdict = recommend(of, candidate, result, p, found and found.fault)
    adopted = verdict.recommendation == "adopt"
    saving = result.saving
    if saving is None or verdict.why in ("floors", "support"):
        return {"project": Word(adopted)}
    return {
        "project": Word(adopted, saving.value, saving.lower(0.975), saving.upper(0.975)),
    }
