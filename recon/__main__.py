"""``python -m recon``, and the console script."""

import atexit
import gc
import os
import sys

_INTERRUPTED = 130
_OBJECTS = 10_000
"""New objects after which Python looks for cycles among them; at its 700 it does so all the time while it imports."""


def main() -> None:
    """Run a command; an interrupt counts from here on, before the command line's own modules are loaded."""
    gc.set_threshold(_OBJECTS)
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
