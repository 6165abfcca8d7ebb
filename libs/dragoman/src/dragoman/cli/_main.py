"""Parses the command line, runs a command, and says what went wrong in two lines at most.

Exit codes: 0 done; 1 a job or a server failed; 2 the request was wrong; 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from dragoman import __version__
from dragoman.errors import (
    AlreadyExists,
    DragomanError,
    FailedPrecondition,
    InvalidSpec,
    NotFound,
)

USER_ERRORS = (InvalidSpec, NotFound, AlreadyExists, FailedPrecondition)
INTERRUPTED = 130

Command = Callable[[argparse.Namespace, Console], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `dragoman` and returns its exit code."""
    options = parser().parse_args(arguments)
    console = _console(options)
    try:
        code = options.run(options, console)
        sys.stdout.flush()  # else a closed pipe is met when the interpreter ends, which makes an exit code of it
        return code
    except DragomanError as error:
        return _failed(error, options.debug)
    except KeyboardInterrupt:
        _say(f"\n{options.interrupted}")
        return INTERRUPTED
    except BrokenPipeError:  # `dragoman jobs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _console(options: argparse.Namespace) -> Console:
    """Plain and wide where nobody looks at it live: a pipe must get whole lines."""
    console = Console(no_color=options.no_color or None, force_terminal=False if options.plain else None)
    if console.is_terminal or os.environ.get("COLUMNS"):
        return console
    return Console(no_color=options.no_color or None, force_terminal=False, width=200)


def _failed(error: DragomanError, debug: bool) -> int:
    if debug:
        raise error
    if isinstance(error, InvalidSpec) and len(error.violations) > 1:
        _say(f"error: {len(error.violations)} things are wrong:")
        for violation in error.violations:
            _say(f"  {violation.field}: {violation.description}" if violation.field else f"  {violation.description}")
    else:
        _say(f"error: {error.message}")
    return 2 if isinstance(error, USER_ERRORS) else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr)


# ------------------------------------------------------------------- parsing


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="dragoman",
        description="Automated interpretability as a service: explain and score the latents of a sparse coder.",
        epilog="Ids may be abbreviated to any unique beginning. `dragoman COMMAND --help` says more.",
    )
    _common(top)
    top.set_defaults(home=_home(), plain=False, no_color=False, debug=False, interrupted="interrupted")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _stack_commands(commands)
    _job_commands(commands)
    _artifact_commands(commands)
    _maintenance_commands(commands)
    _other_commands(commands)
    return top


def _common(parser: argparse.ArgumentParser) -> None:
    """Options that may stand before or after the command; unset ones leave the other place's value alone."""
    unset = argparse.SUPPRESS
    help_ = "folder of the laptop stack (default: DRAGOMAN_HOME, else ~/.dragoman)"
    parser.add_argument("--home", type=Path, default=unset, help=help_)
    parser.add_argument("--plain", action="store_true", default=unset, help="plain lines instead of live tables")
    parser.add_argument("--no-color", action="store_true", default=unset, help="no colours (also: NO_COLOR=1)")
    parser.add_argument("--debug", action="store_true", default=unset, help="show tracebacks")


def _home() -> Path:
    return Path(os.environ.get("DRAGOMAN_HOME") or "~/.dragoman").expanduser()


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]


def _add(commands: Commands, name: str, text: str, run: Command) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    _common(command)
    command.set_defaults(run=run)
    return command


def _stack_commands(commands: Commands) -> None:
    from dragoman.cli import _stack

    up = _add(commands, "up", "start NATS, object store, language model and the four services; Ctrl-C stops", _stack.up)
    _stack.up_options(up)
    demo = _add(commands, "demo", "run the whole pipeline on this machine, to a scorecard and its report", _stack.demo)
    _stack.demo_options(demo)


def _with_client(name: str, module: str) -> Command:
    """A command that talks to the services; connects, and loads gRPC, only when it runs."""

    def run(options: argparse.Namespace, console: Console) -> int:
        from importlib import import_module

        from dragoman.client import Client

        command = getattr(import_module(f"dragoman.cli.{module}"), name)
        with Client(home=options.home) as client:
            return command(client, options, console)

    return run


def _submit(options: argparse.Namespace, console: Console) -> int:
    """Reads the file before it looks for servers: mistakes in it are told without any."""
    from dragoman import pipeline
    from dragoman.cli._jobs import settings

    options.pipeline = pipeline.load(Path(options.file), settings(options.set))
    return _with_client("submit", "_jobs")(options, console)


def _job_commands(commands: Commands) -> None:
    submit = _add(commands, "submit", "submit the jobs of a pipeline file", _submit)
    submit.add_argument("file", help="YAML or JSON; see docs/data-flow.md for the kinds")
    submit.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="value of a variable")
    submit.add_argument("--watch", action="store_true", help="show progress until all jobs are done")
    submit.add_argument("--retry-failed", action="store_true", help="queue jobs again that failed or were cancelled")
    submit.set_defaults(interrupted=_GOES_ON)
    jobs = _add(commands, "jobs", "list jobs, newest first", _with_client("jobs", "_jobs"))
    jobs.add_argument("--kind", action="append", default=[], help="only this kind; may be repeated")
    jobs.add_argument("--state", action="append", default=[], help="only this state; may be repeated")
    jobs.add_argument("--limit", type=_count, default=50, help="at most so many; 0 means all (default: %(default)s)")
    watch = _add(commands, "watch", "show the progress of jobs, until they are done", _with_client("watch", "_jobs"))
    watch.add_argument("jobs", nargs="*", metavar="ID", help="default: every job that is not done")
    watch.add_argument("--all", action="store_true", help="every job, also those to come; until Ctrl-C")
    watch.set_defaults(interrupted=_GOES_ON)
    cancel = _add(
        commands, "cancel", "cancel jobs, and wait until their workers have let go", _with_client("cancel", "_jobs")
    )
    cancel.add_argument("jobs", nargs="+", metavar="ID")
    cancel.add_argument("--timeout", type=float, default=30.0, help="seconds to wait (default: %(default)s)")
    retry = _add(commands, "retry", "queue failed or cancelled jobs again", _with_client("retry", "_jobs"))
    retry.add_argument("jobs", nargs="+", metavar="ID")
    retry.add_argument("--watch", action="store_true", help="show progress until they are done")
    retry.set_defaults(interrupted=_GOES_ON)
    show = _add(commands, "show", "print everything about one job", _with_client("show", "_jobs"))
    show.add_argument("job", metavar="ID")
    dead = _add(commands, "dead-letters", "list tasks that were given up", _with_client("dead_letters", "_jobs"))
    dead.add_argument("job", nargs="?", metavar="ID", default="", help="only those of this job")
    dead.add_argument("--limit", type=_count, default=50, help="at most so many (default: %(default)s)")
    logs = _add(commands, "logs", "print what the tasks of a job logged", _with_client("logs", "_jobs"))
    logs.add_argument("job", metavar="ID")
    logs.add_argument("--task", default="", metavar="STAGE-INDEX", help="only this task")
    _json(submit, jobs, show, dead, logs)


_GOES_ON = "interrupted; the jobs go on: `dragoman watch` shows them, `dragoman cancel ID` stops one"


def _artifact_commands(commands: Commands) -> None:
    get = _add(
        commands, "get", "download an artifact, verified, and print its folder", _with_client("get", "_artifacts")
    )
    get.add_argument("artifact", metavar="ID")
    get.add_argument("-o", "--output", default=".", metavar="DIR", help="folder to put the artifact's folder into")
    export = _add(
        commands, "export", "write a coder as the files of sparsify or SAELens", _with_client("export", "_export")
    )
    export.add_argument("coder", metavar="CODER_ID")
    export.add_argument("folder", metavar="FOLDER", help="a new or empty folder")
    export.add_argument("--layout", required=True, choices=["sparsify", "saelens"], help="the library to load it with")
    lineage = _add(commands, "lineage", "print what an artifact was made from", _with_client("lineage", "_artifacts"))
    lineage.add_argument("artifact", metavar="ID")
    _json(lineage)
    report = _add(
        commands, "report", "fetch a scorecard's report and print its path", _with_client("report", "_artifacts")
    )
    report.add_argument("scorecard", nargs="?", metavar="ID", default="", help="default: the newest scorecard")
    report.add_argument("-o", "--output", default="", metavar="FILE", help="where to copy the report to")
    report.add_argument("--open", action="store_true", help="open it in a browser")


def _maintenance_commands(commands: Commands) -> None:
    gc = _add(commands, "gc", "find, and remove, what nothing needs any more", _with_client("gc", "_maintenance"))
    gc.add_argument("--delete", action="store_true", help="remove it; without this it is only counted")
    age = "such as 90s, 12h or 7d"
    gc.add_argument("--older-than", type=_age, default=7 * 86_400.0, metavar="AGE", help=f"{age} (default: 7d)")
    gc.add_argument("--answers", type=_age, metavar="AGE", help="language-model answers older than this, too")
    delete = _add(
        commands, "delete", "remove artifacts and their jobs' records", _with_client("delete", "_maintenance")
    )
    delete.add_argument("artifacts", nargs="+", metavar="ID")
    delete.add_argument("--force", action="store_true", help="also when committed artifacts were made from it")
    _add(
        commands,
        "rebuild",
        "make job records for committed artifacts that have none, after a loss of NATS's state",
        _with_client("rebuild", "_maintenance"),
    )
    _json(gc)


def _other_commands(commands: Commands) -> None:
    from dragoman.cli import _about

    info = _add(commands, "info", "print what the servers are and can do", _with_client("info", "_about"))
    _json(info)
    models = _add(commands, "models", "list or fetch the models and texts of the demo", _about.models)
    models.add_argument("action", nargs="?", choices=["list", "pull"], default="list")
    models.add_argument("names", nargs="*", metavar="NAME", help="what to pull")
    _json(models)
    version = _add(commands, "version", "print the version", _version)
    _json(version)


def _version(options: argparse.Namespace, console: Console) -> int:
    print(f'{{"version": "{__version__}"}}' if options.json else __version__)
    return 0


def _json(*commands: argparse.ArgumentParser) -> None:
    for command in commands:
        command.add_argument("--json", action="store_true", help="print JSON")


def _age(text: str) -> float:
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    number, unit = text[:-1], text[-1:]
    if unit not in seconds or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not an age; expected a whole number and s, m, h or d, as in 7d")
    return int(number) * seconds[unit]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)
