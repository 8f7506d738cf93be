"""`manage.py consume`: the stream consumer."""

import os
import signal
import socket
from typing import Any

from django.core.management.base import CommandParser

from decisions.alerts_out.watch import Watch
from decisions.consumer import ACCOUNT_STREAMS, GROUP, STREAMS, Consumer
from decisions.turn import Turn
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.group_reader import GroupReader
from orchestrator_project.streams import connect_reader

BLOCK_SECONDS = 1.0


EXAMPLES = """
examples:
  manage.py consume
  manage.py consume --name second

exit codes: 0 stopped by SIGTERM or Ctrl-C, 1 Redis cannot be reached, 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = (
        "Consume the incoming streams: snapshots, alerts, fills, positions, commands. Run as many as you like: fills "
        "and positions are read by one of them at a time, and by the next one when it ends."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        default = f"{socket.gethostname()}-{os.getpid()}"
        parser.add_argument("--name", default=default, help="this consumer's name in the group (default: host and pid)")

    def handle(self, *_: Any, **options: Any) -> None:
        reader = GroupReader(
            connect_reader(BLOCK_SECONDS),
            group=GROUP,
            consumer=options["name"],
            streams=STREAMS,
            block_seconds=BLOCK_SECONDS,
            ordered=ACCOUNT_STREAMS,
            turn=Turn().held_seconds,
        )
        consumer = Consumer(reader)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: consumer.stop())
        self.say(f"consuming as {options['name']}")
        watch = Watch()
        watch.start()
        try:
            consumer.run()
        finally:
            watch.stop()
        self.say("consumer stopped")
