"""`python -m threeages` is the command line."""

import sys

from threeages.cli.signals import stop_on_signals


def main() -> None:
    """Run the command line; a signal is no traceback even while it is imported.

    Where a library that it needs cannot be loaded, `threeages doctor` says which, and every other command
    names it.
    """
    with stop_on_signals():
        try:
            from threeages.cli.main import main as run
        except ImportError as error:
            raise SystemExit(_diagnose(error)) from None
        run()


def _diagnose(error: ImportError) -> str | int:
    """What is broken where the command line cannot start."""
    if sys.argv[1:2] == ["doctor"]:
        from threeages.doctor.__main__ import main as diagnose

        return diagnose()
    sys.stderr.write(f"Error: threeages cannot start: {error}.\n  Run: threeages doctor\n")
    return 2


if __name__ == "__main__":
    main()
