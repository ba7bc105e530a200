"""Writes docs/reference/cli.md: every command with its flags, as `--help` tells them.

python tools/cli_page.py
"""

from __future__ import annotations

from pathlib import Path

from focusdd.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Every command with its flags. Generated from the program by `python tools/cli_page.py`.

"""


def page() -> str:
    """The page as text, without the list of commands that the library writes twice."""
    commands = app.generate_docs().split("\n## focusdd ")[1:]
    links = [f"- [focusdd {name}](#focusdd-{name})" for name in (text.split()[0] for text in commands)]
    text = HEAD + "\n".join(links) + "\n\n" + "\n".join(f"## focusdd {text}" for text in commands)
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
