"""The words of `manage.py risk`: each module has the arguments and the work of one of them.

`HELP` is its line in the list, `add_arguments` declares what it takes, `run` does it, says it, and returns the exit
code: `DONE`, or `REFUSED` when the facts stand against it. A mistake of the person's is a `CommandError` with
`MISTAKE` for its return code.
"""

from collections.abc import Callable

DONE = 0
REFUSED = 1
MISTAKE = 2

Say = Callable[[str], object]
