"""One life of the local stack: prepared, started, followed, stopped."""

import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError, connections
from kombu.exceptions import OperationalError as BrokerError

from orchestrator_project import streams
from orchestrator_project.local import children, endpoints, servers
from orchestrator_project.local.stack import StackPlan, free_port
from orchestrator_project.local.supervisor import QUICK_DEATHS, StackFailed, StopRequested, Supervisor
from orchestrator_project.terminal import columns

if TYPE_CHECKING:
    from decisions.sandbox.opening import Sources

FOLLOW_SECONDS = 1.0
SERVER_DEATHS_WITHIN_SECONDS = 60.0


class Run:
    """One life of the stack, from running servers to the last process stopped."""

    def __init__(
        self,
        options: dict[str, Any],
        sources: "Sources",
        instruments: list[str],
        embedded: list[servers.Server],
        say: Callable[[str], None],
    ) -> None:
        self.options = options
        self.sources = sources
        self.embedded = embedded
        self.say = say
        self.instruments = instruments
        self.seed = settings.SANDBOX_SEED if options["seed"] is None else options["seed"]
        # This process runs the slots of a lockstep run: its own view must be its children's.
        settings.INSTRUMENTS, settings.SANDBOX_SEED = self.instruments, self.seed
        settings.SANDBOX_LOCKSTEP = options["lockstep"]
        self.supervisor = Supervisor(
            processes=self._plan().processes(),
            environment=self._environment(),
            folder=settings.BASE_DIR,
            logs=endpoints.private_dir(settings.LOCAL_DIR / "logs"),
            say=say,
        )
        self.server_deaths: dict[str, list[float]] = {}
        self.followed = 0
        self.follow_at = 0.0

    def to_the_end(self) -> int:
        """Start, follow, stop; the exit code. 0 also when a person ended it, unless a bounded run was cut short."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.supervisor.request_stop())
        try:
            self._prepare()
            self.supervisor.start()
            self._show_table()
            return self._run_slots() if self.options["lockstep"] else self._follow()
        except StopRequested:
            return 130 if self.options["cycles"] else 0
        except (StackFailed, servers.ServerFailed) as error:
            self.say(str(error))
            return 1
        finally:
            self.say("Stopping: beat and market, workers, consumer and venue, web, servers ...")
            connections.close_all()
            self.supervisor.stop()

    def _prepare(self) -> None:
        if settings.MODEL_REPLAY:
            self.say(f"*** MODEL_REPLAY: the recording in {settings.MODEL_REPLAY} answers. No model is asked. ***")
        elif not settings.ANTHROPIC_API_KEY:
            self.say("*** No ANTHROPIC_API_KEY: the OFFLINE rule-based model answers. No real model is asked. ***")
        with closing(streams.connect()) as client:
            client.ping()
        self.say("Migrating ...")
        call_command("migrate", verbosity=0, interactive=False)
        if self.options["cycles"] and not self.options["go_on"] and _journal_exists():
            raise CommandError(
                f"The database of {settings.LOCAL_DIR} already holds cycles, and a bounded run starts from fresh "
                "books: set LOCAL_DIR to a new folder, or pass --continue.",
                returncode=2,
            )
        call_command("seed", admin_username=settings.ADMIN_USERNAME)
        self._drill()

    def _drill(self) -> None:
        """Probe the limits before anything can trade; each worker does so again for itself."""
        from decisions.risk_command.drill import summary
        from risk.services import drill_limits

        findings = drill_limits()
        self.say(f"Limits: {summary(findings)}")
        if any(finding.fault for finding in findings):
            raise CommandError("See `manage.py risk drill`.", returncode=1)

    def _run_slots(self) -> int:
        """A lockstep run; 0 when it is complete and its report shows no fault."""
        from decisions.sandbox import lockstep
        from decisions.sandbox.opening import FILE_MISTAKES

        begun = time.monotonic()
        try:
            done = lockstep.run(
                sources=self.sources,
                seed=self.seed,
                instruments=self.instruments,
                cycles=self.options["cycles"],
                keep_going=self._keep_going,
            )
        except FILE_MISTAKES as error:
            raise CommandError(str(error), returncode=2) from error
        while self._tell_news():
            pass
        faults = self._report(done, time.monotonic() - begun)
        if self.supervisor.stop_requests:
            return 130
        if not self.options["exit_when_done"]:
            self.say("The slots are done; Ctrl-C ends.")
            self._follow()
        return 1 if faults else 0

    def _report(self, done: int, wall_seconds: float) -> list[str]:
        """Write the report where it was asked for, and tell what is wrong with the run."""
        from decisions import report

        result = report.report(wall_seconds=wall_seconds)
        if self.options["report"]:
            self.options["report"].write_text(json.dumps(result, indent=2) + "\n")
            self.say(f"Report: {self.options['report']}")
        faults = report.faults(result)
        if self.options["cycles"] and done < self.options["cycles"]:
            faults.append(f"only {done} of {self.options['cycles']} slots were run")
        for fault in faults:
            self.say(f"FAULT: {fault}")
        return faults

    def _follow(self) -> int:
        while self._keep_going():
            time.sleep(0.2)
        return 0

    def _keep_going(self) -> bool:
        """One look at everything: the dead are revived, news is told. False when a person asked for the end."""
        self._watch_servers()
        self.supervisor.watch()
        if time.monotonic() >= self.follow_at:
            self._tell_news()
            self.follow_at = time.monotonic() + FOLLOW_SECONDS
        return self.supervisor.stop_requests == 0

    def _tell_news(self) -> bool:
        """Tell of some of the cycles that have ended since the last time. False when there were none."""
        from decisions.report import follow_cycles

        try:
            lines, self.followed = follow_cycles(self.followed)
        except (OperationalError, InterfaceError):  # The database is being started again: the news will still be there.
            connections.close_all()
            return False
        for line in lines:
            self.say(line)
        return bool(lines)

    def _watch_servers(self) -> None:
        for index, server in enumerate(self.embedded):
            if server.process.poll() is None:
                continue
            now = time.monotonic()
            deaths = [at for at in self.server_deaths.get(server.name, ()) if now - at < SERVER_DEATHS_WITHIN_SECONDS]
            self.server_deaths[server.name] = [*deaths, now]
            if len(deaths) + 1 >= QUICK_DEATHS:
                raise StackFailed(f"{server.name} keeps dying; see {server.log}:\n{children.last_lines(server.log)}")
            self.say(f"{server.name} died, see {server.log}; starting it again ...")
            connections.close_all()
            self.embedded[index] = servers.start_again(settings.LOCAL_DIR, server)

    def _plan(self) -> StackPlan:
        web = not (self.options["no_web"] or self.options["exit_when_done"])
        web_port = free_port(settings.WEB_PORT) if web else None
        flower_port = free_port(settings.FLOWER_PORT, taken=[web_port]) if web_port else None
        return StackPlan(
            name=_stack_name(),
            sandbox=settings.SANDBOX,
            lockstep=self.options["lockstep"],
            workers=self.options["workers"],
            concurrency=settings.WORKER_CONCURRENCY,
            longest_task_seconds=settings.LONGEST_TASK_SECONDS,
            concurrencies=settings.WORKER_CONCURRENCIES,
            market=self.sources.arguments(),
            equity=self.options["equity"],
            faults=self.options["faults"] and self.options["faults"].absolute(),
            web_port=web_port,
            flower_port=flower_port,
            worker_ready=_worker_answers,
        )

    def _environment(self) -> dict[str, str]:
        """The children's: the servers by URL, so that they never start any, and this run's own settings."""
        own = {
            "DATABASE_URL": settings.DATABASE_URL,
            "REDIS_URL": settings.REDIS_URL,
            "LOCAL_DIR": str(settings.LOCAL_DIR),
            "INSTRUMENTS": json.dumps(self.instruments),
            "SANDBOX_SEED": str(self.seed),
            "SANDBOX_LOCKSTEP": str(self.options["lockstep"]).lower(),
            "PYTHONUNBUFFERED": "1",
        }
        for name in ("MODEL_RECORD", "MODEL_REPLAY"):  # a relative path would be another one in a child's folder
            if folder := getattr(settings, name):
                own[name] = str(folder)
        if settings.FLOWER_BASIC_AUTH:
            own["FLOWER_BASIC_AUTH"] = settings.FLOWER_BASIC_AUTH
        return {**os.environ, **own}

    def _show_table(self) -> None:
        rows = [(server.name, str(server.process.pid), "", str(server.log)) for server in self.embedded]
        rows += [(name, str(pid), address, str(log)) for name, pid, address, log in self.supervisor.table()]
        self.say("\n" + "\n".join(columns([("process", "pid", "address", "log"), *rows])) + "\n")


def _journal_exists() -> bool:
    from decisions.models import DecisionCycle

    return DecisionCycle.objects.exists()


def _stack_name() -> str:
    digest = hashlib.sha256(os.fsencode(settings.LOCAL_DIR)).hexdigest()[:6]
    return f"{socket.gethostname()}-{digest}"


def _worker_answers(node: str) -> bool:
    from orchestrator_project.celery import app

    try:
        return bool(app.control.ping(destination=[node], timeout=0.5, limit=1))
    except BrokerError:
        return False
