"""Commands on this machine: up, demo."""

import argparse
import os
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from dragoman.stack import LlmChoice

_NOTHING_LOST = "interrupted; nothing is lost: the same command goes on from here"


def up_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `dragoman up`."""
    llm = parser.add_argument_group("language model")
    llm.add_argument(
        "--judge",
        default="",
        metavar="MODEL",
        help="a name of `dragoman models` or a GGUF file; for vLLM a folder or hub id",
    )
    llm.add_argument(
        "--llm",
        choices=["llama.cpp", "llama-server", "vllm"],
        default="llama.cpp",
        help="the engine that serves it: llama.cpp as installed, your own build of it, or vLLM on a GPU",
    )
    llm.add_argument(
        "--llm-url",
        default=os.environ.get("DRAGOMAN_LLM_URL", ""),
        metavar="URL",
        help="use this OpenAI-compatible server; its key comes from DRAGOMAN_LLM_API_KEY",
    )
    llm.add_argument("--llm-model", default=os.environ.get("DRAGOMAN_LLM_MODEL", ""), help="the model's name there")
    llm.add_argument("--no-llm", action="store_true", help="start none: explaining and scoring will not work")
    llm.add_argument("--no-embedder", action="store_true", help="serve no embeddings: scorers that need them refuse")
    parser.add_argument(
        "--port-base",
        type=int,
        default=os.environ.get("DRAGOMAN_PORT_BASE"),
        metavar="PORT",
        help="first of the ports that are used (default: DRAGOMAN_PORT_BASE, else 17400)",
    )
    parser.add_argument(
        "--workers", action="append", default=[], metavar="SERVICE=N", help="more workers of a service; may be repeated"
    )


def up(options: argparse.Namespace, console: Console) -> int:
    """Runs the stack until Ctrl-C or SIGTERM."""
    from dragoman.stack import EMBEDDER, Ports, Stack
    from dragoman.stack.table import stack_table

    more = _workers(options)
    ports = Ports() if options.port_base is None else Ports(options.port_base)
    llm = _llm(options)
    embedder = "" if llm is None or options.no_embedder else EMBEDDER
    stack = Stack(options.home, llm, ports, embedder=embedder, say=lambda line: console.print(f"  {line}", style="dim"))
    console.print(f"starting the stack of {options.home}; logs are in {options.home / 'logs'}", highlight=False)
    with stack:
        for service in more:
            stack.add_worker(service)
        console.print(stack_table(stack.states()))
        console.print("ready: `dragoman submit FILE` from another terminal; Ctrl-C stops, and what is done stays done")
        stack.wait()
        console.print("stopping", style="dim")
    return 0


def _llm(options: argparse.Namespace) -> "LlmChoice | None":
    from dragoman.errors import InvalidSpec
    from dragoman.stack import JUDGE, LlmChoice

    if options.no_llm:
        return None
    if options.llm == "vllm":
        if not options.judge:
            raise InvalidSpec("--llm vllm: say with --judge which model it serves, a folder or a hub id")
        return LlmChoice.vllm(options.judge)
    if options.llm_url and not options.judge:
        return LlmChoice(options.llm_model, options.llm_url, os.environ.get("DRAGOMAN_LLM_API_KEY", ""))
    return LlmChoice(options.judge or JUDGE, engine=options.llm)


def _workers(options: argparse.Namespace) -> list[str]:
    from dragoman.cli._jobs import settings
    from dragoman.errors import InvalidSpec
    from dragoman.nearest import suggestion
    from dragoman.stack import PACKAGES

    found: list[str] = []
    for service, number in settings(options.workers, "--workers", "SERVICE=N").items():
        if service not in PACKAGES:
            raise InvalidSpec(f"--workers {service}: {suggestion(service, PACKAGES)}")
        if not number.isdigit():
            raise InvalidSpec(f"--workers {service}={number}: expected a whole number")
        found.extend([service] * int(number))
    return found


def demo_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `dragoman demo`."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="value of a variable of demo.yaml"
    )
    parser.add_argument("--judge", default="", metavar="MODEL", help="a name of `dragoman models`, or a GGUF file")
    parser.add_argument(
        "--llm",
        choices=["llama.cpp", "llama-server"],
        default="llama.cpp",
        help="the engine that serves it: llama.cpp as installed, or your own build of it",
    )
    parser.set_defaults(interrupted=_NOTHING_LOST)


def demo(options: argparse.Namespace, console: Console) -> int:
    """Runs the demo."""
    from dragoman import demo as steps
    from dragoman.cli._jobs import settings

    options.set = dict(settings(options.set))
    options.console = console
    return steps.run(options.home, options)
