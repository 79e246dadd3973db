"""Starts the command line: `whydeep`, and `python -m whydeep`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; an interrupt while it is still being imported ends it in words too."""
    try:
        from whydeep.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("\nwhydeep: interrupted; nothing was written\n")
        if "--json" in sys.argv[1:]:
            sys.stdout.write('{"error": {"type": "Interrupted", "problem": "Interrupted."}}\n')
        sys.exit(130)


if __name__ == "__main__":
    main()
