"""Hints fitted to the command that was given: they name no option that it lacks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from threeages.errors import ThreeAgesError

PROGRAM = "threeages"
PIP = "pip install"
Options = Mapping[str, frozenset[str]]  # by the full name of a command, such as `threeages data import`
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# a sentence ends before white space and a capital, a quote or an option; `file.csv` and `1.5` end none
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z'\"-])")


def list_options(commands: Mapping[str, Any]) -> Options:
    """The options of every command by its full name, `--no-...` among them."""
    return {
        name: frozenset(
            flag
            for parameter in command.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
            if flag.startswith("--")
        )
        | {"--help"}
        for name, command in commands.items()
    }


def find_command(arguments: Sequence[str], options: Options) -> str | None:
    """The full name of the command in the program's arguments, None where it is none."""
    names = (f"{PROGRAM} {' '.join(arguments[:words])}" for words in (2, 1))
    return next((name for name in names if name in options), None)


def fit_text(text: str, command: str | None, options: Options) -> str:
    """A text without the sentences that name an option which the command lacks.

    An option of another command may be named behind that command, such as 'threeages data merge --out'.
    Where no sentence is left it says which commands have the option.
    """
    if command is None or not OPTION.search(text):
        return text
    sentences = SENTENCE_END.split(text)
    kept = [sentence for sentence in sentences if not find_lacking(sentence, command, options)]
    if kept:
        return " ".join(kept)
    return _name_owners(next(iter(find_lacking(text, command, options))), command, options)


def fit_error(error: ThreeAgesError, command: str | None, options: Options) -> str:
    """The message of an error with its hint fitted to the command."""
    hint = fit_text(error.hint, command, options)
    return str(ThreeAgesError(error.message, hint=hint))


def find_lacking(sentence: str, command: str, options: Options) -> list[str]:
    """The options named in a sentence that neither the command nor one named before them has."""
    return [
        option
        for owner, option in find_owners(sentence, options)
        if option not in options.get(owner or command, frozenset())
    ]


def find_owners(sentence: str, options: Options) -> Iterator[tuple[str | None, str]]:
    """Every option in a sentence with the command that is named before it, None where there is none."""
    names = "|".join(re.escape(name) for name in sorted(options, key=len, reverse=True))
    owner = None
    for match in re.finditer(rf"(?P<command>{names}|{PIP})\b|{OPTION.pattern}", sentence):
        if match["command"]:
            owner = match["command"]
        elif owner != PIP:  # its options are not ours
            yield owner, match[0]


def _name_owners(option: str, command: str, options: Options) -> str:
    owners = [name for name, own in options.items() if option in own]
    if not owners:
        return ""
    return f"'{command}' has no option {option}; '{owners[0]}' has it."
