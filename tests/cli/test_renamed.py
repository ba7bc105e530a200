"""Old names of flags work, and say the new ones."""

from __future__ import annotations

import pytest

from focusdd.cli.app import app
from focusdd.cli.renamed import RENAMED, with_new_names


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("extract photos --fit letterbox --out index", "extract photos --resize letterbox --out index"),
        ("extract photos --fit=squash", "extract photos --resize=squash"),
        ("label tiny --labels views", "label tiny --kind views"),
        ("label tiny --views 8", "label tiny --num-crops 8"),
        ("compare photos --views.layers 3", "compare photos --extract.layers 3"),
        ("detect compare coco --views.fit squash", "detect compare coco --extract.resize squash"),
    ],
)
def test_an_old_name_works_with_a_sentence(
    words: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_new_names(words.split()) == wanted.split()
    assert capsys.readouterr().out.count("is called --") == 1


@pytest.mark.parametrize(
    "words", ["train tiny --labels views", "fit photos --model x", "distill x --views 3", ""]
)
def test_other_words_stay(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert with_new_names(words.split()) == words.split()
    assert capsys.readouterr().out == ""


def test_new_names_are_flags() -> None:
    for command, names in RENAMED.items():
        flags = {name for argument in arguments(command) for name in argument.names}
        for old, new in names.items():
            assert any(flag.startswith(new) for flag in flags)
            assert old not in flags


def arguments(command: str):
    found = app
    for word in command.split():
        found = found[word]
    return found.assemble_argument_collection()
