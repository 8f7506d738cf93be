"""`python -m tests.chaos`, which is `make chaos`: runs of the whole stack under faults, one line for each."""

import sys

from tests.chaos.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
