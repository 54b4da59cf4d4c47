"""``python -m recon``, and the console script."""

import atexit
import gc
import os
import sys
from contextlib import suppress

_INTERRUPTED = 130
_UNSAID = 6
"""As :class:`pipelines.core.errors.OutputError`, whose module need not have been loaded."""
_OBJECTS = 10_000
"""New objects after which Python looks for cycles among them; at its 700 it does so all the time while it imports."""


def main() -> None:
    """Run a command; an interrupt counts from here on, before the command line's own modules are loaded."""
    gc.set_threshold(_OBJECTS)
    code = _INTERRUPTED
    try:
        from recon.cli import main as run

        run()
    except KeyboardInterrupt:
        print("recon: Interrupted.", file=sys.stderr)
    except SystemExit as end:
        code = int(end.code or 0)
    # What is there goes with the process; Python would clear it away piece by piece, for 5 to 30 ms. And where an
    # interrupt once came out of `exec`, by which dataclasses are made, it would end by the signal.
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _UNSAID
        if not isinstance(error, BrokenPipeError):  # Where nobody reads any more nobody wants to know.
            print(f"recon: What was said cannot be written: {error.strerror}.", file=sys.stderr)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
