"""The stack as a table for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from dragoman.stack.supervisor import ProcessState


def stack_table(states: Sequence[ProcessState], title: str = "Dragoman") -> Table:
    """Returns a table of addresses, process ids and restarts."""
    table = Table(title=title, title_justify="left")
    for column in ("process", "address", "pid", "restarts"):
        table.add_column(column, justify="right" if column in {"pid", "restarts"} else "left")
    for state in states:
        pid = str(state.pid) if state.pid is not None else "[red]stopped[/red]"
        table.add_row(state.name, state.address, pid, str(state.restart_count or ""))
    return table
