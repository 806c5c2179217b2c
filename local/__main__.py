"""`python -m local`: see `local.app`."""

import sys

from local.app import main

sys.exit(main())
