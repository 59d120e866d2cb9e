"""Runs the cells of all pages in one kernel: imports are paid once, not once a page."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from analysis.errors import RenderError
from analysis.render.project import PACKAGE, SiteProject, split_page

# Both shortcode openers: text that a cell displays as Markdown is never evaluated.
_SHORTCODE = re.compile(r"\{\{(?=<|%)")


# A Unix socket's path has room for 108 bytes (104 on macOS), the channel's number included.
_SOCKET_PATH = 96


@dataclass(frozen=True)
class ExecutedPage:
    """A page with its outputs; `notebook` is a plain nbformat 4 notebook."""

    source: PurePosixPath
    notebook: Any


class _ThisPython(KernelSpecManager):  # type: ignore[misc]
    """One kernel: the interpreter that runs now, whatever kernels a user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python", language="python")


class _Client(NotebookClient):
    """Starts and stops a kernel that is reached over sockets in a folder, not over the network."""

    folder: Path
    abandoned = False

    def abandon(self) -> None:
        """Ends the kernel at once, or as soon as it has started."""
        self.abandoned = True
        process = getattr(getattr(self.km, "provisioner", None), "process", None)
        if process is not None:
            process.kill()

    def create_kernel_manager(self) -> AsyncKernelManager:
        socket = str(self.folder / "kernel")
        usable = os.name != "nt" and len(socket) < _SOCKET_PATH
        local = {"transport": "ipc", "ip": socket} if usable else {}
        self.km = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=_ThisPython(),
            connection_file=str(self.folder / "kernel.json"),
            **local,
        )
        return self.km


def execute_pages(
    project: SiteProject, review_dir: Path, scratch: Path, report: Callable[[str], None]
) -> tuple[ExecutedPage, ...]:
    """Execute every page in the project's root, in order, with `RELEASE_REVIEW_DIR` set.

    Raises:
        RenderError: a cell fails; names the page, and what the cell raised.
    """
    cells: list[Any] = []
    for page in project.pages:
        try:
            parts = split_page((project.root / page).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, RenderError) as error:
            raise RenderError(f"{page}: {error}") from error
        for part in parts:
            make = new_code_cell if part.kind == "code" else new_markdown_cell
            cells.append(make(part.text, metadata={"page": str(page)}))
    together = new_notebook(cells=cells, metadata={"kernelspec": _kernel()})
    _execute(together, project, review_dir, scratch, report)
    return tuple(ExecutedPage(page, _page_notebook(page, together.cells)) for page in project.pages)


def write_notebook(page: ExecutedPage, path: Path) -> None:
    """Write the page's notebook, for the site generator."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(page.notebook, path)


def _kernel() -> dict[str, str]:
    return {"name": "python3", "display_name": "Python 3", "language": "python"}


def _environment(project: SiteProject, review_dir: Path, scratch: Path) -> dict[str, str]:
    """The kernel's environment: this code first on the path, nothing read from a user's profile."""
    paths = [str(project.root), str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in paths if path)),
        "RELEASE_REVIEW_DIR": str(review_dir),
        "QUARTO_PROFILE": ",".join(project.profiles),
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_CONFIG_DIR": str(scratch / "jupyter"),
    }


def _execute(
    together: Any,
    project: SiteProject,
    review_dir: Path,
    scratch: Path,
    report: Callable[[str], None],
) -> None:
    seen: set[str] = set()

    def announce(cell: Any, cell_index: int) -> None:
        if client.abandoned:
            raise RuntimeError("stopped")
        page = cell.metadata["page"]
        if page not in seen:
            seen.add(page)
            report(f"page {len(seen)} of {len(project.pages)}: {page}")

    client = _Client(
        together,
        timeout=None,
        resources={"metadata": {"path": str(project.root)}},
        on_cell_execute=announce,
        record_timing=False,
    )
    client.folder = scratch
    try:
        _run(client, _environment(project, review_dir, scratch))
    except CellExecutionError as error:
        failed = next(
            (cell for cell in together.cells if any(_is_error(out) for out in _outputs(cell))), None
        )
        page = failed.metadata["page"] if failed is not None else "a page"
        raise RenderError(f"{page}: a cell failed: {error.ename}: {error.evalue}") from error
    except (DeadKernelError, RuntimeError, TimeoutError) as error:
        raise RenderError(f"the kernel that runs the pages stopped: {error}") from error


def _run(client: _Client, environment: dict[str, str]) -> None:
    """In a thread of its own: nbclient takes the signals of the main one for itself, and keeps them."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: asyncio.run(client.async_execute(env=environment)))
        try:
            done.result()
        except BaseException:
            client.abandon()
            raise


def _outputs(cell: Any) -> list[Any]:
    return list(cell.get("outputs", [])) if cell.cell_type == "code" else []


def _is_error(output: Any) -> bool:
    return bool(output.output_type == "error")


def _page_notebook(page: PurePosixPath, cells: Iterable[Any]) -> Any:
    """The page's own cells. Streams (warnings, prints) are not content; ids are stable."""
    own: list[Any] = []
    for cell in cells:
        if cell.metadata["page"] != str(page):
            continue
        name = f"{page.stem}-{len(own)}"
        if cell.cell_type == "code":
            shown = [_clean(output) for output in cell.outputs if "data" in output]
            own.append(new_code_cell(cell.source, id=name, outputs=shown))
        else:
            own.append(new_markdown_cell(cell.source, id=name))
    return new_notebook(cells=own, metadata={"kernelspec": _kernel()})


def _clean(output: Any) -> Any:
    """Neutralise shortcodes in Markdown that a cell displays: it is data, never a command."""
    data = dict(output.data)
    text = data.get("text/markdown")
    if text is not None:
        joined = "".join(text) if isinstance(text, list) else text
        data["text/markdown"] = _SHORTCODE.sub("{\u2060{", joined)
    return new_output("display_data", data=data)
