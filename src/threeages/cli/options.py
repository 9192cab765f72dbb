"""Options that several commands share, and how NAME=VALUE is read."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

ENGINES = ("local", "ray")


class NameValue(NamedTuple):
    """An option given as NAME=VALUE, such as --only source=faces."""

    name: str
    value: str


def parse_pair(text: str) -> NameValue:
    """Split NAME=VALUE; a usage error, which names the option it was given for, where it is none."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f"'{text}' is not NAME=VALUE.")
    return NameValue(name, value)


def name_value_option(flag: str, metavar: str, help_text: str) -> Any:
    """An option whose values are NameValue."""
    return typer.Option(flag, metavar=metavar, help=help_text, parser=parse_pair)


def check_share(value: float | None) -> float | None:
    """The value of an option that is a share between 0 and 1; a usage error for any other number, or NaN."""
    if value is not None and not 0 < value < 1:
        raise typer.BadParameter(f"{value:g} is not between 0 and 1.")
    return value


def check_share_or_end(value: float | None) -> float | None:
    """As `check_share`, with 0 and 1 allowed."""
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(f"{value:g} is not from 0 to 1.")
    return value


def check_positive(value: float | None) -> float | None:
    """The value of an option that is above 0; a usage error for any other number, or NaN."""
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{value:g} is not above 0.")
    return value


ManifestFile = Annotated[
    Path, typer.Argument(help="Csv with the columns path,label; see 'threeages data import'.")
]

RootFolder = Annotated[
    Path | None, typer.Option("--root", help="Folder that the csv's paths are relative to.")
]

OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write to.")]

Corrections = Annotated[
    Path | None,
    typer.Option(
        "--corrections", help="Csv of 'threeages data review': the labels it puts right are changed."
    ),
]

CacheFolder = Annotated[Path | None, typer.Option(help="Folder for cached pixels and features.")]

Devices = Annotated[
    int | None,
    typer.Option("--devices", help="Processes on this machine, which share each batch; a GPU each."),
]

Nodes = Annotated[int | None, typer.Option("--nodes", help="Machines that run this command.")]

ModelName = Annotated[str, typer.Option("--model", help="'default', 'large', an ONNX file or a run folder.")]

ModelOfPredictions = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="'default', 'large', an ONNX file or a run folder; by default the one that the predictions say "
        "they are of.",
    ),
]

RecipeName = Annotated[str, typer.Option("--recipe", help="Name of a recipe, a json file or a run folder.")]

MaxError = Annotated[
    float | None,
    typer.Option(
        callback=check_share,
        help="Target error rate of the answers, such as 0.15; less confident faces get none.",
    ),
]

Coverage = Annotated[
    float | None,
    typer.Option(
        callback=check_share,
        help="Add the set of groups that holds the true one at this rate, such as 0.9.",
    ),
]

BracketYears = Annotated[
    str | None,
    typer.Option(
        "--brackets",
        metavar="YEARS",
        help="First years of brackets of ages, such as 0,13,18,30,50: adds the probability of each.",
    ),
]

DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where the model runs: auto, cpu, cuda, coreml or openvino; the CPU where that is missing.",
    ),
]

Only = Annotated[
    NameValue | None,
    name_value_option("--only", "COLUMN=VALUE", "Only the rows with this value in a column: source=faces."),
]

Terms = Annotated[
    str,
    typer.Option(
        "--terms",
        help="Sources to train on: any, or permissive for those whose stated terms allow any use.",
    ),
]

AllowSource = Annotated[
    list[str] | None,
    typer.Option("--allow-source", help="A source whose terms you know to allow your use; repeatable."),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="With --engine ray: the head of the cluster. RAY_ADDRESS, else a cluster of this machine, by "
        "default.",
    ),
]

FoldNumber = Annotated[
    int, typer.Option(min=0, help="The fold whose identities are the test rows, of a split by identity.")
]
FoldCount = Annotated[int, typer.Option(min=2, help="Number of folds of the identities.")]
SplitSeed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the split.")]

NoDetect = Annotated[bool, typer.Option("--no-detect", help="Take every image whole, as a face crop.")]


def check_engine(engine: str, address: str | None, device: str = "auto") -> bool:
    """Whether the work is given to a Ray cluster; raises ConfigError for what does not go together."""
    from threeages.errors import ConfigError

    if engine not in ENGINES:
        raise ConfigError(f"The engine was '{engine}'.", hint=f"Give one of {', '.join(ENGINES)}.")
    if address and engine != "ray":
        raise ConfigError("--address was given without --engine ray.", hint="Add --engine ray.")
    if engine == "ray" and device not in {"auto", "cpu"}:
        raise ConfigError(f"--device {device} was given with --engine ray.", hint="Its workers use the CPU.")
    return engine == "ray"


def parse_weighted(text: str) -> tuple[str, float]:
    """('gender', 0.3) of 'gender=0.3'; the weight is 1 where none is given."""
    from threeages.errors import ConfigError

    name, _, weight = text.partition("=")
    try:
        return name, float(weight or 1)
    except ValueError as error:
        raise ConfigError(
            f"--extra-head was '{text}'.", hint="Give a column and a weight: gender=0.3."
        ) from error
