"""Every check of the doctor, in the order in which they are shown."""

from collections.abc import Iterator

from threeages.doctor.findings import Finding
from threeages.doctor.running import Listed, run_check

PACKAGE = "threeages.doctor"
CHECKS = (
    Listed("threeages", f"{PACKAGE}.versions", "check_package"),
    Listed("python", f"{PACKAGE}.versions", "check_python"),
    Listed("libraries", f"{PACKAGE}.installed", "check_libraries"),
    Listed("extras", f"{PACKAGE}.installed", "check_extras"),
    Listed("builds", f"{PACKAGE}.installed", "check_builds"),
    Listed("opencv", f"{PACKAGE}.devices", "check_opencv", apart=True),
    Listed("onnxruntime", f"{PACKAGE}.devices", "check_onnxruntime", apart=True),
    Listed("torch", f"{PACKAGE}.devices", "check_torch", apart=True),
    Listed("threads", f"{PACKAGE}.resources", "check_threads"),
    Listed("memory", f"{PACKAGE}.resources", "check_memory"),
    Listed("telemetry", f"{PACKAGE}.privacy", "check_telemetry"),
    Listed("files", f"{PACKAGE}.stored", "check_bundled_files"),
    Listed("large model", f"{PACKAGE}.stored", "check_large_model", apart=True),
    Listed("caches", f"{PACKAGE}.stored", "check_caches", apart=True),
    Listed("self-test", f"{PACKAGE}.selftest", "check_answers", apart=True),
)


def diagnose() -> Iterator[Finding]:
    """The findings of every check, one after another as they are done. Raises nothing.

    Nothing is sent, and no file is written.
    """
    for listed in CHECKS:
        yield from run_check(listed)
