"""What `fettle up` says: one line for each step, with its time. A spinner on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """One step of the way up. Gives a function that tells what goes on inside it; the line with the time follows the end."""
    began = time.monotonic()
    try:
        if out.is_terminal:
            with out.status(f"[dim]{title}[/]") as status:
                yield lambda text: status.update(f"[dim]{title}: {text}[/]")
        else:
            yield lambda text: out.print(f"    {text}", markup=False)
    except Exception:  # whoever catches it says why; the end by Ctrl-C is no failure and shows no cross
        out.print(f"  [red]✗[/] {title}")
        raise
    out.print(f"  [green]✓[/] {title:<52} [dim]{time.monotonic() - began:5.1f} s[/]")


def note(text: str) -> None:
    """Something to know that stops nothing."""
    out.print(f"  [yellow]![/] {text}")
