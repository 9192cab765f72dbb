from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(name, version, requires, extras)` makes a distribution, found before a real one."""
    monkeypatch.syspath_prepend(tmp_path / "packages")

    def add(
        name: str, version: str = "1.0", requires: tuple[str, ...] = (), extras: tuple[str, ...] = ()
    ) -> None:
        folder = tmp_path / "packages" / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {text}" for text in requires]
        lines += [f"Provides-Extra: {text}" for text in extras]
        (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")

    return add
