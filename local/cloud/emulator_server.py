"""Serves the AWS emulator, without what its SAM transform would import and never use."""

import sys

# With this package, jsonschema compiles 38 grammars of URIs and IRIs when it is imported: a third
# of all the time that the first deployment takes. SAM's schema has none checked.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # "cannot be imported"

if __name__ == "__main__":
    from hypercorn.__main__ import main

    sys.exit(main())
