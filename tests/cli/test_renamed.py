"""Old names of flags work, and say the new ones."""

from __future__ import annotations

import pytest

from focusdd.cli.app import COMMANDS, app
from focusdd.cli.renamed import renamed_flags, with_new_names


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("extract photos --fit letterbox --out index", "extract photos --resize letterbox --out index"),
        ("extract photos --fit=squash", "extract photos --resize=squash"),
        ("label tiny --labels views", "label tiny --kind views"),
        ("subset photos --ipc 2", "subset photos --per-class 2"),
        ("label tiny --views 8", "label tiny --num-crops 8"),
        ("compare photos --views.layers 3", "compare photos --extract.layers 3"),
        ("detect compare coco --views.fit squash", "detect compare coco --extract.resize squash"),
    ],
)
def test_an_old_name_works_with_a_sentence(
    words: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_new_names(app, words.split()) == wanted.split()
    assert capsys.readouterr().out.count("is called --") == 1


@pytest.mark.parametrize(
    "words", ["train tiny --labels views", "fit photos --model x", "distill x --views 3", ""]
)
def test_other_words_stay(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert with_new_names(app, words.split()) == words.split()
    assert capsys.readouterr().out == ""


def test_new_names_are_flags() -> None:
    found = 0
    for command in COMMANDS:
        own = app
        for word in command.split():
            own = own[word]
        flags = {name for argument in own.assemble_argument_collection() for name in argument.names}
        for old, new in renamed_flags(own).items():
            found += 1
            assert any(flag == new or flag.startswith(f"{new}.") for flag in flags)
            assert old not in flags
    assert found > 10
