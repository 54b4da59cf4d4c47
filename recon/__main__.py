"""``python -m recon``, and the console script."""

import atexit
import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run a command; an interrupt counts from here on, before the command line's own modules are loaded."""
    try:
        from recon.cli import main as run

        run()
        return
    except KeyboardInterrupt:
        print("recon: Interrupted.", file=sys.stderr)
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            raise
    # Where an interrupt once came out of `exec`, by which dataclasses are made, Python would end by the signal.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
