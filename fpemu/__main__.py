"""``python -m fpemu`` is the command ``fpemu``."""

import sys

from fpemu.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
