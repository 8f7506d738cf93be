"""`manage.py consume`: the stream consumer."""

import os
import signal
import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from decisions.consumer import GROUP, STREAMS, Consumer
from orchestrator_project import streams

BLOCK_SECONDS = 2.0


class Command(BaseCommand):
    help = "Consume the incoming streams: snapshots, alerts, fills, positions, commands. Run as many as you like."

    def add_arguments(self, parser: CommandParser) -> None:
        default = f"{socket.gethostname()}-{os.getpid()}"
        parser.add_argument("--name", default=default, help="this consumer's name in the group (default: host and pid)")

    def handle(self, *_: Any, **options: Any) -> None:
        reader = streams.GroupReader(
            streams.connect_reader(BLOCK_SECONDS),
            group=GROUP,
            consumer=options["name"],
            streams=STREAMS,
            block_seconds=BLOCK_SECONDS,
        )
        consumer = Consumer(reader)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: consumer.stop())
        self.stdout.write(f"consuming as {options['name']}")
        consumer.run()
        self.stdout.write("consumer stopped")
