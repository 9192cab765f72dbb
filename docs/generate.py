"""Write what the documentation takes from elsewhere: python docs/generate.py [--check].

Tables come from results/ into the pages' `<!-- table NAME -->` blocks (docs/tables.py), docs/cli.md from the
commands themselves. With --check nothing is written, and the exit code is 1 where a page is stale.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from tables import TABLES, table

DOCS = Path(__file__).parent
CLI = DOCS / "cli.md"
BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
INTRO = """# The command line

Every command with its arguments and options, as its `--help` prints them. This page is generated:
`python docs/generate.py` writes it. Exit codes: 0 where everything was answered, 1 where an image could not
be read, 2 where the command could not be run; the message then says what was given, what is allowed and what
to do next. Results go to stdout, progress and messages to stderr.
"""


def main(check: bool) -> int:
    """Write every generated part, or with `check` name the stale pages."""
    stale = [path for path, text in render() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path, text in render():
        if path in stale and not check:
            path.write_text(text, encoding="utf-8")
    for path in stale:
        done = "is stale: run python docs/generate.py" if check else "written"
        print(f"{path.relative_to(DOCS.parent)} {done}")
    return int(check and bool(stale))


def render() -> Iterator[tuple[Path, str]]:
    """Every page with its text as it should be."""
    for path in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]:
        if path != CLI:
            yield path, BLOCK.sub(_fill, path.read_text(encoding="utf-8"))
    yield CLI, command_page()


def _fill(block: re.Match[str]) -> str:
    return f"{block[1]}{TABLES[block[2]]()}\n{block[3]}"


def command_page() -> str:
    """docs/cli.md."""

    from threeages.cli.main import list_commands

    sections = [_section(name, command) for name, command in list_commands().items()]
    return "\n".join([INTRO, *sections])


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([name, *(_metavar(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"## {name}\n", f"{_text(command.help)}\n", f"```text\n{usage}\n```\n"]
    if arguments:
        rows = [[f"`{_metavar(p)}`", _text(p.help)] for p in arguments]
        parts.append(table(["argument", "what it is"], rows) + "\n")
    for panel in dict.fromkeys(p.rich_help_panel for p in options):
        rows = [[f"`{_flags(p)}`", _default(p), _text(p.help)] for p in options if p.rich_help_panel == panel]
        parts.append(table([panel or "option", "default", "what it does"], rows) + "\n")
    return "\n".join(parts)


def _metavar(parameter: Any) -> str:
    dots = "..." if parameter.nargs == -1 else ""
    return str(parameter.metavar or f"{parameter.name.strip('_').upper()}{dots}")


def _flags(parameter: Any) -> str:
    names = ", ".join(parameter.opts)
    if parameter.secondary_opts:
        return f"{names} / {', '.join(parameter.secondary_opts)}"
    if parameter.is_flag:
        return names
    return f"{names} {_kind(parameter)}"


def _kind(parameter: Any) -> str:
    """What a value is, such as PATH or `FLOAT|none`; typer keeps types in one of two places."""
    if parameter.metavar:
        return str(parameter.metavar)
    found = getattr(parameter, "type_descriptor", None)
    kind = str(found.annotation if found else parameter.type.name).lower()
    names = {"path": "PATH", "int": "INT", "float": "FLOAT"}
    return next((name for part, name in names.items() if part in kind), "TEXT")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    return "" if value is None or value is False or value in ((), []) or callable(value) else f"`{value}`"


def _text(text: str | None) -> str:
    """A help text on one line, safe in a table of Markdown."""
    words = " ".join((text or "").split())
    return re.sub(r"(?<![`\w])(--[\w-]+(?:=\w+)?)", r"`\1`", words.replace("*", "\\*").replace("<", "&lt;"))


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))
