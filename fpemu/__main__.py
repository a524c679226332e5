"""``python -m fpemu`` is the command ``fpemu``."""

import sys

from fpemu.cli.main import main

sys.exit(main())
