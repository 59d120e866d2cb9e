"""The examples of the documentation: what they say is printed is what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples import ROOT, agrees, examples, failures

DOCUMENTS = {"data/artifacts.md": 10, "data/releases/README.md": 10}
"""Document → how many examples it has at least."""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_examples_of_a_document_print_what_it_says(name: str, tmp_path: Path) -> None:
    assert len(examples(ROOT / name)) >= DOCUMENTS[name]
    told = failures(ROOT / name, tmp_path)
    assert not told, "\n\n".join(told)


def test_every_option_of_the_commands_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    from analysis.__main__ import parser

    text = (ROOT / "data" / "artifacts.md").read_text()
    (commands,) = (a for a in parser()._actions if hasattr(a, "choices") and a.choices)
    for name in ("verify", "diff", "migrate"):
        for action in commands.choices[name]._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help", "--quiet", "--threads", "--memory-limit"):
                    assert f"`{option}" in text, (name, option)


SAME = {
    "a line": (("a",), ("a",)),
    "nothing": ((), ()),
    "a part of a line": (("sha256:… agrees",), ("sha256:0123 agrees",)),
    "any lines": (("a", "…", "z"), ("a", "b", "c", "z")),
    "no line": (("a", "…", "z"), ("a", "z")),
    "what looks like a pattern": (("a.b (c)*",), ("a.b (c)*",)),
}
OTHER = {
    "another line": (("a",), ("b",)),
    "a line more": (("a",), ("a", "b")),
    "a line less": (("a", "b"), ("a",)),
    "a line more after any lines": (("a", "…", "z"), ("a", "z", "y")),
    "a part over two lines": (("a…z",), ("a", "z")),
    "a pattern": (("a.c",), ("abc",)),
}


@pytest.mark.parametrize(("expected", "printed"), SAME.values(), ids=SAME.keys())
def test_what_is_printed_agrees(expected: tuple[str, ...], printed: tuple[str, ...]) -> None:
    assert agrees(expected, printed)


@pytest.mark.parametrize(("expected", "printed"), OTHER.values(), ids=OTHER.keys())
def test_what_is_not_said_is_found(expected: tuple[str, ...], printed: tuple[str, ...]) -> None:
    assert not agrees(expected, printed)


def test_the_runner_finds_an_example_that_prints_something_else(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text(
        "# x\n\n```console\n$ echo a \\\n  b\na b\n$ false\n$ echo $? > f; cat f\n1\n```\n\n"
        "```bash\n$ not run\n```\n\n```console\n$ cat f >&2\n2\n```\n"
    )
    assert [one.line for one in examples(document)] == [4, 7, 8, 17]
    folder = tmp_path / "folder"
    folder.mkdir()
    (told,) = failures(document, folder)
    assert told == "x.md:17: $ cat f >&2\n  says\n    2\n  prints\n    1"
