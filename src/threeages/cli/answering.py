"""Which model made predictions: what `card` and `monitor` take where --model is not given, and its name."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import typer

from threeages.errors import ConfigError
from threeages.evaluation.provenance import Provenance, is_run, join_sources, read_provenance
from threeages.files.checksums import checksum
from threeages.inference.named import DEFAULT, NAMES, find_model_file
from threeages.inference.runtime import OnnxModel, default_model_path

GIVE = "Give the one with --model: 'default', 'large', an ONNX file or a run folder."


def choose_model(given: str | None, parts: Iterable[Provenance], *, otherwise: str = "") -> str:
    """The --model value: the one given, else that of the model which all predictions are of.

    `otherwise` is a further sentence of the hint. Raises ConfigError where none is given and the predictions
    do not name one, or it is not there any more.
    """
    if given is not None:
        return given
    found = list(parts)
    names = {part.model for part in found}
    if "" in names or len(names) != 1:
        known = sorted(names - {""})
        what = f"are of several models: {', '.join(known)}" if known[1:] else "name no model that all are of"
        raise ConfigError(f"The predictions {what}.", hint=f"{GIVE} {otherwise}".strip())
    (name,) = names
    if name not in NAMES and not Path(name).exists():
        raise ConfigError(f"The predictions are of {name}, which is not there.", hint=GIVE)
    check_answering(name, found)
    return name


def check_answering(model: str, parts: Iterable[Provenance]) -> None:
    """Raise ConfigError where predictions are known to be of another model than the one of that value.

    Two models of the user's own may differ: those of the folds stand for the model of all rows.
    """
    for part in parts:
        other = part.model != model and bool({part.model, model} & set(NAMES))
        if part.model and other:
            raise ConfigError(
                f"The predictions are of {part.model}, not of {model}.",
                hint=f"Leave out --model, or give predictions of {model}.",
            )
        if part.model in NAMES and part.model_checksum not in {"", checksum(find_model_file(model))}:
            raise ConfigError(
                f"The predictions are of another version of the {model} model.",
                hint=f"Make them with this one: threeages evaluate MANIFEST --model {model} --out FOLDER.",
            )


def shorten_name(model: str) -> str:
    """'default' for the shipped file under its path; any other --model value as it is."""
    shipped = Path(model).absolute() == default_model_path().absolute()
    return DEFAULT if shipped else model


def name_model(model: str) -> str:
    """The name of the model of a --model value in a title: 'default model', or 'model mine' of runs/mine."""
    if model in NAMES:
        return f"{model} model"
    path = Path(model).absolute()
    if path.is_dir() or path.stem == "model":  # each run's export has that name
        path = path if path.is_dir() else path.parent
        return f"model {path.resolve().name}"
    return f"model {path.stem}"


def find_sources(model: str, loaded: OnnxModel, parts: Iterable[Provenance]) -> Mapping[str, int]:
    """Train images by source of the user's own model, as far as they are known to be its own.

    Those of its run, where the value names it or a file in it; else those of the runs that the predictions
    are of, where one of them was trained on the same images. Empty, with a line on stderr, in other cases.
    """
    path = Path(model)
    folder = path if path.is_dir() else path.parent
    found = read_provenance(folder).sources if is_run(folder) else {}
    if not found and not is_run(folder):
        found = join_sources(part for part in parts if _is_of_same_images(loaded, part))
    if not found:
        typer.echo(
            f"Which sources {model} was trained on is not known, and the card says so; name its run with "
            "--run.",
            err=True,
        )
    return found


def _is_of_same_images(loaded: OnnxModel, part: Provenance) -> bool:
    """Whether the run that answered was trained on the images that the model's file says it was."""
    from threeages.data.train_digests import load_train_digests, parse_train_digests

    content = loaded.read_train_digests()
    if content is None or not part.model or not is_run(Path(part.model)):
        return False
    run, own = load_train_digests(Path(part.model)), parse_train_digests(content, Path(part.model))
    return run is not None and own is not None and run.salt == own.salt
