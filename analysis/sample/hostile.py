"""Values that telemetry can hold and a report must survive: each is text, and stays text."""

from __future__ import annotations

from dataclasses import dataclass

SCRIPT_SCENARIO = '<script>alert("x")</script>'
SCRIPT_REPAIR = "<script>alert(1)</script>"
SHORTCODE = "{{< env HOME >}}"
FORMULA = '=HYPERLINK("http://x")'
ANSI = "\x1b[31mfallback\x1b[0m"
RIGHT_TO_LEFT = "summary-\u202egnp.exe"
NAMIBIA = "NA"


@dataclass(frozen=True)
class Hostile:
    """One hostile value: the column that holds it, and what it tries."""

    column: str
    value: str
    tries: str


HOSTILE = (
    Hostile("scenario", SCRIPT_SCENARIO, "a script in HTML"),
    Hostile("segment", SHORTCODE, "a Quarto shortcode that reads the environment"),
    Hostile("segment", FORMULA, "a formula in a spreadsheet"),
    Hostile("repair_strategy", SCRIPT_REPAIR, "a script in HTML"),
    Hostile("repair_strategy", ANSI, "an escape sequence in a terminal"),
    Hostile("instruction_template", RIGHT_TO_LEFT, "a right-to-left override that reorders text"),
    Hostile("country_code", NAMIBIA, "the country Namibia, read as a missing value"),
)
