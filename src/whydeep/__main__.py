"""``python -m whydeep``: the command line."""

from whydeep.cli import main

if __name__ == "__main__":
    main()
