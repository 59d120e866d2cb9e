from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import analysis

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "analysis"
MODULES = {
    path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if "hooks" not in path.parts
}

PUBLIC = [
    "Check",
    "Contract",
    "Decision",
    "DecisionArtifact",
    "Interval",
    "Policy",
    "RegressionTest",
    "Review",
    "ReviewError",
    "Telemetry",
    "compute",
    "load_contract",
    "load_policy",
    "open_telemetry",
    "request",
]


# ── names ────────────────────────────────────────────────────────────────────────────────


def test_the_public_names_are_the_public_names() -> None:
    assert analysis.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    found = getattr(analysis, name)
    assert found.__doc__
    assert found.__module__.startswith("analysis.")


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = analysis.nothing


def test_a_star_import_gives_the_public_names() -> None:
    space: dict[str, object] = {}
    exec("from analysis import *", space)
    assert sorted(set(space) - {"__builtins__"}) == PUBLIC


@pytest.mark.parametrize("name", MODULES.values())
def test_every_name_in_an_all_can_be_imported(name: str) -> None:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", []):
        assert hasattr(module, public), public
    assert module.__doc__ is not None, f"{name} says nothing about itself"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import analysis", ["duckdb", "pandas", "sklearn", "pydantic", "plotnine"]),
        ("import analysis.__main__", ["duckdb", "pandas", "sklearn", "plotnine", "great_tables"]),
        ("import analysis.contract; analysis.contract.load()", ["duckdb", "pandas", "sqlglot"]),
        ("import analysis.review", ["plotnine", "great_tables", "matplotlib", "IPython"]),
        ("import analysis.present.page", ["plotnine", "great_tables", "duckdb", "sklearn"]),
    ],
)
def test_what_is_not_needed_is_not_loaded(statement: str, heavy: list[str]) -> None:
    code = f"{statement}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# ── directions ───────────────────────────────────────────────────────────────────────────

# DESIGN section 1: a module imports from its own rank and those before it. Parts that it does not
# name share the rank of what they serve. `review` stands later than there: it runs the whole flow,
# from telemetry to the artifact, and so imports the gate and the artifact, and they do not know it.
PUBLISHED = {f"published_{part}" for part in ("names", "numbers", "tables", "text", "values")}
RANKS = [
    {
        "errors",
        "check",
        "disclosure",
        "disk",
        "in_place",
        "leftovers",
        "progress",
        "stats",
        "stopping",
        "tables",
    },
    {
        "strict_yaml",
        "yaml_text",
        "policy_problems",
        "policy_types",
        "policy_slos",
        "policy_windows",
        "policy_routing",
        "policy_hotspots",
        "policy_drift",
        "policy_gate",
        "policy_triage",
        "profiles",
        "share_safe",
        "openslo_document",
        "openslo",
        "alert_windows",
        "policy",
        "rule_sql",
        "own_rules",
        "contract_model",
        "contract_problems",
        "contract_file",
        "contract_schema",
        "contract",
    },
    {"telemetry"},
    {"views"},
    {"gate", "gate_flips", "gate_needs", "gate_watch", "registration"},
    {"bounds", "masking", "publication", *PUBLISHED},
    {
        "artifact",
        "artifact_bytes",
        "artifact_schema",
        "attestation",
        "difference",
        "difference_noise",
        "difference_report",
        "gate_report",
        "ledger_names",
        "migration",
        "recorded",
        "recorded_figures",
        "routes",
        "safe_text",
    },
    {"caches", "review"},
    {"agreement", "verification", "verification_report"},
    {"ledger", "ledger_history", "ledger_last", "ledger_report"},
    {"present"},
    {"render"},
    {"commands"},
    {"__main__"},
]
# Beside the flow: the sample is nobody's input but the contract's; `ingest` writes tables, and
# `propose` drafts a contract and a policy from them; the demonstration runs the commands.
ASIDE = {
    "demonstration": {"errors", "gate", "in_place", "review", "sample"},
    "sample": {"errors", "disk", "in_place", "contract"},
    "ingest": {"errors", "contract", "telemetry"},
    "propose": {"errors", "contract", "policy", "telemetry", "yaml_text"},
}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path, *, only_at_run_time: bool = True) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, also within functions; not those for type checking alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if only_at_run_time and node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            module = node.module or ""
            if module == "analysis":
                yield from ((node.lineno, f"analysis.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def own_imports(path: Path) -> list[tuple[int, str]]:
    return [
        (line, part_of(module))
        for line, module in imports(path)
        if module.split(".")[0] == "analysis" and "." in module
    ]


@pytest.mark.parametrize("path", MODULES, ids=MODULES.values())
def test_imports_go_one_way(path: Path) -> None:
    name = MODULES[path]
    part = part_of(name)
    if not part:
        return
    if part in ASIDE:
        allowed = ASIDE[part] | {part}
    else:
        rank = next((i for i, parts in enumerate(RANKS) if part in parts), None)
        assert rank is not None, f"{part} has no place in the order of DESIGN section 1"
        allowed = set().union(*RANKS[: rank + 1])
        if part == "commands":
            allowed |= set(ASIDE)
    wrong = [f"line {line}: {other}" for line, other in own_imports(path) if other not in allowed]
    assert wrong == []


def test_parts_of_one_rank_do_not_go_round_in_circles() -> None:
    edges: dict[str, set[str]] = {}
    for path, name in MODULES.items():
        for _, other in own_imports(path):
            if part_of(name) and other != part_of(name):
                edges.setdefault(part_of(name), set()).add(other)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for other in edges.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    assert [part for part in edges if part in reached(part)] == []


def test_stats_imports_no_other_part_and_does_no_input_or_output() -> None:
    allowed = {
        "numpy",
        "scipy",
        "sklearn",
        "threadpoolctl",
        "arviz_stats",
        *sys.stdlib_module_names,
    }
    for path, name in MODULES.items():
        if not name.startswith("analysis.stats"):
            continue
        for line, module in imports(path, only_at_run_time=False):
            top = module.split(".")[0]
            assert top in allowed or module.startswith("analysis.stats"), f"{path}:{line}: {module}"
            assert top not in {"os", "pathlib", "io", "subprocess", "tempfile"}, f"{path}:{line}"


@pytest.mark.parametrize("library", ["plotnine", "great_tables", "matplotlib"])
def test_only_present_imports_plots_and_tables(library: str) -> None:
    found = {
        part_of(name)
        for path, name in MODULES.items()
        for _, module in imports(path, only_at_run_time=False)
        if module.split(".")[0] == library
    }
    assert found <= {"present"}


def test_only_telemetry_and_the_sample_open_the_engine() -> None:
    found = {
        part_of(name)
        for path, name in MODULES.items()
        for _, module in imports(path)
        if module.split(".")[0] == "duckdb"
    }
    assert found <= {"telemetry", "sample", "ingest"}


def test_the_module_never_imports_a_page_or_a_test() -> None:
    for path in MODULES:
        tops = {module.split(".")[0] for _, module in imports(path, only_at_run_time=False)}
        assert not tops & {"report", "tests", "pytest", "benchmarks"}, path
