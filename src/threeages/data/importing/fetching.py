"""From a Kaggle name, an archive, a folder or a csv to a folder or csv on the disk."""

import re
from pathlib import Path

from threeages.data.importing.archive import extract_archive, is_archive
from threeages.data.importing.layouts import ALLOWED
from threeages.errors import DataError, MissingDependencyError, describe_cause

_KAGGLE = re.compile(r"kaggle:(?P<handle>[\w.-]+/[\w.-]+(/versions/\d+)?)")
_OFFICE = {".xlsx", ".xls", ".xlsm", ".ods"}


def fetch_source(source: str, cache_dir: Path | None) -> Path:
    """The folder or csv of a source, downloaded or unpacked where it must be.

    Raises DataError where there is none, MissingDependencyError where a Kaggle name needs `kagglehub`.
    """
    if source.startswith("kaggle:"):
        match = _KAGGLE.fullmatch(source)
        if not match:
            raise DataError(f"'{source}' is no name of a Kaggle data set.", hint="Write kaggle:owner/name.")
        return _download(match["handle"])
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve()
    if not path.is_file():
        raise DataError(f"There is no file or folder '{source}'.", hint=ALLOWED)
    if path.suffix.lower() in _OFFICE:
        raise DataError(f"'{source}' is a spreadsheet.", hint="Save its table as 'CSV UTF-8' and give that.")
    if is_archive(path):
        return extract_archive(path, cache_dir=cache_dir).resolve()
    return path.absolute()


def _download(handle: str) -> Path:
    try:
        import kagglehub
    except ImportError as error:
        raise MissingDependencyError("kagglehub", "kaggle") from error
    try:
        return Path(kagglehub.dataset_download(handle)).resolve()
    except Exception as error:  # network, login, quota and disk errors come as many unrelated types
        raise DataError(
            f"Kaggle did not deliver '{handle}': {describe_cause(error)}.",
            hint=f"Download the zip by hand from https://www.kaggle.com/datasets/{handle} and give its path.",
        ) from error
