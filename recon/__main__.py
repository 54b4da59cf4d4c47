"""``python -m recon``, and the console script."""

import sys


def main() -> None:
    """Run a command; an interrupt counts from here on, before the command line's own modules are loaded."""
    try:
        from recon.cli import main as run

        run()
    except KeyboardInterrupt:
        print("recon: Interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
