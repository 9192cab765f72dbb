from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.cache import open_cache
from threeages.data.manifest import load_manifest
from threeages.data.stored import find_stored, remove_stored


def test_what_is_cached_is_found_and_only_that_deleted(faces_csv: Path, tmp_path: Path) -> None:
    open_cache(load_manifest(faces_csv), 32, folder=tmp_path)
    np.save(tmp_path / "features-0.npy", np.zeros(10, dtype=np.float16))
    (tmp_path / "mine.npy").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "key.1.part").mkdir()  # a build under way
    (tmp_path / "key.1.part" / "pixels.npy").touch()
    pixels, features = find_stored(tmp_path)
    assert pixels.size > (pixels.path / "pixels.npy").stat().st_size
    assert features.path == tmp_path / "features-0.npy"
    remove_stored([pixels, features])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.1.part", "mine", "mine.npy"]


def test_the_command_lists_first_and_deletes_on_demand(tmp_path: Path) -> None:
    np.save(tmp_path / "features-0.npy", np.zeros(10, dtype=np.float16))
    shown = CliRunner().invoke(app, ["data", "cache", "--cache-dir", str(tmp_path)])
    assert "features-0.npy" in shown.output
    assert (tmp_path / "features-0.npy").exists()
    cleared = CliRunner().invoke(app, ["data", "cache", "--cache-dir", str(tmp_path), "--clear"])
    assert "in all, deleted" in cleared.output
    assert not list(tmp_path.iterdir())
