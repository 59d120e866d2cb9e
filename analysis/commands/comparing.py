"""`diff`: what changed between two artifacts."""

from __future__ import annotations

from argparse import Namespace

from analysis.commands.artifacts import readable_values, verified
from analysis.commands.output import emit


def diff(a: Namespace) -> int:
    """0 once it is written, whatever it says."""
    from analysis import difference_report as forms
    from analysis.difference import compare

    formats = {"text": forms.as_text, "markdown": forms.as_markdown, "json": forms.as_json}
    with readable_values():
        text = formats[a.format](compare(verified(a.before), verified(a.after)))
    emit(text, a.out)
    return 0
