"""`python -m threeages` is the command line."""

from threeages.cli.signals import stop_on_signals


def main() -> None:
    """Run the command line; a signal is no traceback even while it is imported."""
    with stop_on_signals():
        from threeages.cli.main import main as run

        run()


if __name__ == "__main__":
    main()
