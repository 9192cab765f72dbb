"""Options of a command made of the documented fields of its settings, so that each is typed once."""

import functools
import inspect
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from threeages.errors import ConfigError
from threeages.training.config import Setting, find_choices, read_settings

METAVARS = {bool: "", int: "INT", float: "FLOAT", str: "TEXT"}

Field = tuple[Any, Setting]


def with_settings(**parts: type | tuple[type, Iterable[str]]) -> Callable[[Callable[..., None]], Any]:
    """Decorate a command: its parameters named here take the settings given, as dicts from field to value.

    `config=TrainConfig` makes an option of every field of the class, `config=(TrainConfig, names)` of some;
    a field that is not given is not in the dict.
    """
    fields = {part: _select(source) for part, source in parts.items()}

    def decorate(command: Callable[..., None]) -> Any:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            for part, settings in fields.items():
                given = {name: values.pop(name) for name in settings}
                values[part] = {
                    name: _parse(name, settings[name], value)
                    for name, value in given.items()
                    if value is not None
                }
            command(**values)

        own = inspect.signature(command).parameters
        parameters = [parameter for name, parameter in own.items() if name not in fields]
        parameters += [_create_parameter(name, *of) for part in fields.values() for name, of in part.items()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _select(source: type | tuple[type, Iterable[str]]) -> dict[str, Field]:
    config, names = source if isinstance(source, tuple) else (source, None)
    known = read_settings(config)
    chosen = known if names is None else names
    return {name: known[name] for name in chosen if known[name][1].option}


def _create_parameter(name: str, kind: Any, setting: Setting) -> inspect.Parameter:
    flag, help_text = f"--{name}".replace("_", "-"), setting.help
    base = _find_base(kind)
    metavar = METAVARS[base]
    shown: Any = base
    if base is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif get_origin(kind) is dict:
        flag, metavar, shown = flag.removesuffix("s"), "TEXT", list[str]
    elif NoneType in get_args(kind):
        metavar, shown = f"{metavar}|{setting.none}", str
    elif choices := find_choices(kind, setting):
        help_text = f"{help_text + ': ' if help_text else ''}{', '.join(choices)}."
    option = typer.Option(flag, help=help_text, metavar=metavar, rich_help_panel=setting.section)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[shown | None, option]
    )


def _find_base(kind: Any) -> type:
    """The type of a setting's value but for None; str of a Literal and of a dict's entries."""
    if get_origin(kind) in (Literal, dict):
        return str
    base: type = next((part for part in get_args(kind) if part is not NoneType), kind)
    return base


def _parse(name: str, field: Field, value: Any) -> Any:
    """The value of an option, None where it is the setting's word for None; raises ConfigError."""
    kind, setting = field
    if NoneType not in get_args(kind):
        return value
    if value == setting.none:
        return None
    base = _find_base(kind)
    try:
        return base(value)
    except ValueError as error:
        flag = f"--{name}".replace("_", "-")
        raise ConfigError(
            f"{flag} was '{value}'.", hint=f"Give a number ({METAVARS[base]}) or '{setting.none}'."
        ) from error
