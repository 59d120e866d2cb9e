"""Finds Quarto 1.9 or newer on PATH, and renders the project with it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import RenderError
from analysis.render.project import PACKAGE, SiteProject, profile_file

MINIMUM = (1, 9)
_COPIED = ("_quarto.yml", "report", "_extensions")
_LINES_SHOWN = 30
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Quarto:
    """A Quarto that can be used."""

    path: str
    version: str


def find() -> Quarto | None:
    """The `quarto` on PATH if it is new enough, else None."""
    path = shutil.which("quarto")
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = done.stdout.strip()
    numbers = re.match(r"(\d+)\.(\d+)", version)
    # A build from source calls itself 99.9.9.
    if done.returncode != 0 or numbers is None:
        return None
    if (int(numbers.group(1)), int(numbers.group(2))) < MINIMUM:
        return None
    return Quarto(path=path, version=version)


def explain_absence() -> str:
    """Why `find` found nothing, and the way out."""
    wanted = ".".join(str(number) for number in MINIMUM)
    path = shutil.which("quarto")
    found = f"{path} is older or does not run" if path else "there is no `quarto` on PATH"
    return f"Quarto {wanted} or newer is needed and {found}; `--engine embedded` does without"


def render(
    quarto: Quarto,
    project: SiteProject,
    review_dir: Path,
    site: Path,
    scratch: Path,
    report: Callable[[str], None],
) -> None:
    """Run `quarto render` on a copy of the project, and move what it wrote into `site`.

    On a copy, because Quarto writes page by page: a cell that fails leaves half a site.
    """
    copy = scratch / "project"
    copy.mkdir()
    configured = [profile_file(project.root, name) for name in project.profiles]
    for name in (*_COPIED, *(path.name for path in configured if path is not None)):
        source = project.root / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("*_files", "__pycache__", ".*")
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copyfile(source, copy / name)
    (copy / "analysis").symlink_to(PACKAGE, target_is_directory=True)
    python_path = [str(project.root), str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    env = {
        **os.environ,
        "RELEASE_REVIEW_DIR": str(review_dir),
        "QUARTO_PROFILE": ",".join(project.profiles),
        "QUARTO_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in python_path if path)),
    }
    # Accessible where the content allows it, as the embedded engine does: Quarto stops at what it forbids.
    standard = {} if "QUARTO_PDF_STANDARD" in env else {"QUARTO_PDF_STANDARD": "ua-1"}
    code, lines = _run(quarto, copy, {**env, **standard}, report)
    if code != 0 and standard and any("PDF/UA" in line for line in lines):
        report("the PDF is tagged, and not PDF/UA: rendering again without")
        code, lines = _run(quarto, copy, env, report)
    if code != 0:
        shown = "\n".join(f"  {line}" for line in lines[-_LINES_SHOWN:])
        raise RenderError(f"quarto render ended with {code}:\n{shown}")
    built = copy / str(project.config.get("project", {}).get("output-dir") or "_site")
    if not built.is_dir():
        raise RenderError("quarto render ended well and wrote no site")
    shutil.copytree(built, site, dirs_exist_ok=True)


def _run(
    quarto: Quarto, project: Path, env: Mapping[str, str], report: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Run `quarto render` in `project` to its end: its exit code, and what it said."""
    process = subprocess.Popen(
        [quarto.path, "render", "--no-execute-daemon"],
        cwd=project,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    with process:
        try:
            for coloured in process.stdout:
                line = _COLOURS.sub("", coloured.rstrip())
                lines.append(line)
                step = re.search(r"\[\s*(\d+/\d+)\]\s+(\S+)", line)
                if step:
                    report(f"page {step.group(1)}: {step.group(2)}")
        except BaseException:
            # Its children hold the pipe open as long as they live.
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, lines
