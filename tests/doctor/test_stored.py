from pathlib import Path

import pytest

from threeages.data.stored.entries import write_checksums
from threeages.doctor import stored
from threeages.doctor.running import Listed, run_here
from threeages.errors import ModelError
from threeages.inference.named import LargeModel

KEY = "0" * 24


def _add(folder: Path, content: bytes = b"pixels") -> Path:
    folder.mkdir(parents=True)
    (folder / "crops.npy").write_bytes(content)
    write_checksums(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in place of the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(stored, "user_cache_path", lambda _: folder)
    for name in ("PIXELS", "FEATURES"):
        monkeypatch.setattr(f"threeages.data.stored.listed.{name}_FOLDER", folder / name.lower())
    return folder


def test_an_empty_cache_is_fine(cache: Path) -> None:
    (found,) = stored.check_caches()
    assert found.verdict == "ok"
    assert "0 cached sets, 0 bytes" in found.found
    assert not cache.exists()


def test_cached_sets_and_archives_are_compared_and_nothing_is_written(cache: Path) -> None:
    _add(cache / "pixels" / f"pixels-{KEY}", b"a" * 1000)
    _add(cache / "archive-0123456789ab")
    (cache / "features" / f"features-{KEY}.part").mkdir(parents=True)
    before = sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*"))
    (found,) = stored.check_caches()
    assert found.verdict == "ok"
    assert "3 cached sets" in found.found
    states = {entry["path"].rpartition("/")[2]: entry["state"] for entry in found.details["entries"]}
    assert states == {
        f"features-{KEY}.part": "unfinished", "archive-0123456789ab": "verified", f"pixels-{KEY}": "verified",
    }  # fmt: skip
    assert sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*")) == before


def test_a_damaged_cache_is_a_warning_that_names_it(cache: Path) -> None:
    damaged = _add(cache / "pixels" / f"pixels-{KEY}")
    (damaged / "crops.npy").write_bytes(b"pixelz")
    (found,) = stored.check_caches()
    assert found.verdict == "warning"
    assert f"pixels-{KEY} (crops.npy)" in found.found
    assert "data cache --clear" in found.advice
    assert damaged.exists()


def test_what_would_take_long_is_named_and_not_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(cache / "pixels" / f"pixels-{KEY}")
    monkeypatch.setattr(stored, "PATIENCE", -1)
    (found,) = stored.check_caches()
    assert found.verdict == "ok"
    assert "1 too large to be read now" in found.found


def test_a_full_disk_is_a_warning(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_find_room", lambda _: 0)
    (found,) = stored.check_caches()
    assert (found.verdict, "disk is full" in found.found) == ("warning", True)


def test_the_files_of_the_package_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = stored.check_bundled_files()
    assert found.verdict == "ok"
    monkeypatch.setattr(stored, "ASSETS", tmp_path)
    monkeypatch.setattr("threeages.bundled.ASSETS", tmp_path)
    (fault,) = run_here(Listed("files", "threeages.doctor.stored", "check_bundled_files"))
    assert fault.verdict == "fault"
    assert "pip install --force-reinstall" in fault.advice


def test_the_large_model_is_absent_there_or_damaged(large_model: LargeModel, encoder_file: Path) -> None:
    (absent,) = stored.check_large_model()
    assert (absent.verdict, absent.advice) == ("ok", "To get it: threeages models fetch large")
    large_model.fetch(encoder_file)
    (there,) = stored.check_large_model()
    assert (there.verdict, there.advice) == ("ok", "")
    large_model.path.write_bytes(b"half")
    with pytest.raises(ModelError, match="damaged"):
        list(stored.check_large_model())
