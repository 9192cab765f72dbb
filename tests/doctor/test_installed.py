from collections.abc import Callable

from threeages.doctor.findings import Finding
from threeages.doctor.installed import check_builds, check_extras, check_libraries
from threeages.doctor.versions import check_package, check_python

Install = Callable[..., None]  # of conftest


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_versions_are_named() -> None:
    (package,) = check_package()
    (python,) = check_python()
    assert package.details["version"]
    assert package.details["version"] in package.found
    assert (python.verdict, python.details["bits"]) == ("ok", 64)
    assert python.details["version"] in python.found


def test_the_libraries_of_this_environment_are_enough() -> None:
    (found,) = check_libraries()
    assert found.verdict == "ok", found
    assert "onnxruntime " in found.found


def test_a_library_that_is_missing_or_too_old_is_a_fault_with_its_command(install: Install) -> None:
    install(
        "threeages",
        "9.0",
        ("numpy>=1", "leaf-old>=2.0", "leaf-none<5", "leaf-elsewhere; sys_platform == 'x'"),
    )
    install("leaf-old", "1.5")
    (found,) = check_libraries()
    assert found.verdict == "fault"
    assert "leaf-old>=2.0 is needed, 1.5 is installed; leaf-none<5 is missing" in found.found
    assert found.advice == "Run: pip install 'leaf-old>=2.0' 'leaf-none<5'"


def test_another_build_of_a_library_will_do(install: Install) -> None:
    install("threeages", "9.0", ("opencv-contrib-python-headless>=99", "opencv-contrib-python>=4"))
    install("opencv-contrib-python", "4.10")
    (found,) = check_libraries()
    assert found.verdict == "ok"
    assert "opencv-contrib-python 4.10" in found.found


def test_extras_come_from_the_metadata_with_their_commands(install: Install) -> None:
    requires = (
        "numpy",
        "leaf-none; extra == 'one'",
        "leaf-there; extra == 'two'",
        "leaf-old>=2; extra == 'three'",
        "threeages[one]; extra == 'four'",
        "leaf-elsewhere; extra == 'two' and sys_platform == 'x'",
    )
    install("threeages", "9.0", requires, ("one", "two", "three", "four", "dev"))
    install("leaf-there")
    install("leaf-old")
    found = _by_name(list(check_extras()))
    assert found["extras"].details == {"installed": ["two"]}
    assert found["extra one"].found == found["extra four"].found == "not installed: lacks leaf-none"
    assert found["extra one"].verdict == "ok"
    assert found["extra one"].advice == "To get it: pip install 'threeages[one]'"
    assert (found["extra three"].verdict, "1.0 is installed" in found["extra three"].found) == (
        "warning",
        True,
    )
    assert "extra dev" not in found


def test_two_builds_of_a_library_are_a_warning_with_the_repair(install: Install) -> None:
    before = list(check_builds())
    install("opencv-python", "4.9")
    install("opencv-python-headless", "4.10")
    install("onnxruntime", "1.20")
    install("onnxruntime-gpu", "1.21")
    found = _by_name(list(check_builds()))
    assert before == []
    assert found["cv2"].verdict == found["onnxruntime"].verdict == "warning"
    assert "opencv-python-headless 4.10 and opencv-python 4.9 are both installed" in found["cv2"].found
    assert found["cv2"].advice == (
        "Run: pip uninstall -y opencv-python-headless && "
        "pip install --force-reinstall --no-deps opencv-python"
    )
    assert "pip uninstall -y onnxruntime && " in found["onnxruntime"].advice
    assert found["onnxruntime"].advice.endswith("--no-deps onnxruntime-gpu")


def test_a_package_that_is_not_installed_is_said(install: Install, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("threeages.doctor.versions.find_version", lambda _: "")
    (found,) = check_package()
    assert found.verdict == "fault"
    assert "pip install" in found.advice
