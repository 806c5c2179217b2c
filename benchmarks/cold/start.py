"""Run in a bare process: `start.py MODULE [EVENT]` imports a module and hands it an event.

Prints, as JSON, the CPU seconds of the import and of the event: what else runs on the machine does
not lengthen them.
"""

import importlib
import json
import sys
import time


class Context:
    """What a handler reads of Lambda's context."""

    function_name = "a-function"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a-function"
    aws_request_id = "52fdfc07-2182-454f-963f-5f0f9a621d72"

    def get_remaining_time_in_millis(self) -> int:
        """Enough."""
        return 120_000


begun = time.process_time()
module = importlib.import_module(sys.argv[1])
imported = time.process_time()
answer = None
if len(sys.argv) > 2:  # noqa: PLR2004 - a name and an event
    with open(sys.argv[2]) as file:  # noqa: PTH123 - pathlib is an import of its own
        event = json.load(file)
    begun_event = time.process_time()
    answer = module.handler(event, Context())
    event_took = time.process_time() - begun_event
else:
    event_took = 0.0
print(
    json.dumps({"init": imported - begun, "event": event_took, "answer": answer}), file=sys.stderr
)
