"""`python -m threeages` is the command line."""

from threeages.cli.main import main

if __name__ == "__main__":
    main()
