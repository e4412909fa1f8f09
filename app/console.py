"""What `fettle up` says: one line for each step, with its time. A spinner on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """One step of the way up. Gives a function for what is happening inside it; the line with the time follows the end."""
    began = time.monotonic()
    try:
        if out.is_terminal:
            with out.status(f"[dim]{title}[/]") as status:
                yield lambda text: status.update(f"[dim]{title}: {text}[/]")
        else:
            yield lambda text: out.print(f"       {title}: {text}", markup=False)
    except Exception:  # told by whoever catches it; the end by Ctrl-C is no failure
        out.print(f"  [red]✗[/] {title}")
        raise
    out.print(f"  [green]✓[/] {title:<52} [dim]{time.monotonic() - began:5.1f} s[/]")


def note(text: str) -> None:
    """Something to know that stops nothing."""
    out.print(f"  [yellow]![/] {text}")


def problem(message: str, advice: str = "") -> None:
    """Why it does not go on, and what to do."""
    out.print(f"  [red]✗[/] {message}")
    if advice:
        out.print(f"    {advice}")
