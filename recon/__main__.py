"""``python -m recon``."""

from recon.cli import main

main()
