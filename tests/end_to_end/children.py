"""Runs commands as processes of their own, each with its own project and temporary folder."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CHILD = """
import sys
from pathlib import Path
from analysis import stopping
stopping.install()
from analysis import review as reviews
reviews.PROJECT = Path(sys.argv.pop(1))
from analysis.__main__ import _run
sys.exit(_run())
"""


@dataclass(frozen=True)
class Place:
    """A project, and a folder for temporary files."""

    project: Path
    temporary: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> Place:
        """A copy of this project, without its code and caches."""
        project, temporary = folder / "project", folder / "temporary"
        temporary.mkdir()
        for name in ("report", "_extensions"):
            shutil.copytree(ROOT / name, project / name)
        shutil.copyfile(ROOT / "_quarto.yml", project / "_quarto.yml")
        return cls(project, temporary)

    def start(
        self, *argv: object, largest_file: int | None = None, stdin: int | None = None
    ) -> subprocess.Popen[str]:
        """Starts a command. largest_file: bytes that a file may have, as of a disk that is full."""

        def limit() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(self.project), *map(str, argv)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.project,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMPDIR": str(self.temporary),
                "OMP_NUM_THREADS": "1",
                **self.environment,
            },
            preexec_fn=limit if largest_file is not None else None,
        )

    def run(
        self, *argv: object, largest_file: int | None = None, given: str | None = None
    ) -> tuple[int, str, str]:
        """Exit code, stdout, stderr. given: on stdin."""
        stdin = None if given is None else subprocess.PIPE
        process = self.start(*argv, largest_file=largest_file, stdin=stdin)
        out, err = process.communicate(given, timeout=300)
        return process.returncode, out, err

    def litter(self) -> list[str]:
        """What is still being built, or would be."""
        found = [*self.temporary.iterdir()]
        for root in (self.project, self.project.parent):
            found += [
                p for p in root.rglob(".*") if ".building-" in p.name or ".previous-" in p.name
            ]
        return sorted(str(p) for p in found)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below, but for hidden ones."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
