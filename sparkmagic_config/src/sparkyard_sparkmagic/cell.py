"""What a cell is: code for Spark, code for this server, or a magic.

Stock Sparkmagic looks at the first characters only, so a comment above %%local sends the cell to Spark. Here empty
lines and comments above a magic don't count; line numbers in errors are the cell's own.
"""

import re
from dataclasses import dataclass

from sparkmagic.kernels.wrapperkernel.usercodeparser import UserCodeParser

_MAGIC = re.compile(r"(%%?)(\w+)(.*)", re.DOTALL)
_BODILESS = frozenset({"info", "logs", "cleanup", "delete", "help", "send_to_spark"})
_LIVYS_OWN = frozenset({"json", "table", "matplot"})  # line magics that Livy's interpreter understands itself
LOCAL = "local"


@dataclass(frozen=True)
class Cell:
    """A cell, taken apart."""

    magic: str | None  # the cell magic's name, "" for a line magic, None for none
    line: str  # what follows the magic's name on its line
    body: str
    above: int  # lines before the body, the magic's own among them


def read(code: str, comment: str = "#") -> Cell:
    """Take `code` apart; `comment` begins a comment in the kernel's own language."""
    lines = code.splitlines(keepends=True)
    above = 0
    while above < len(lines) and (not lines[above].strip() or lines[above].lstrip().startswith(comment)):
        above += 1
    first = lines[above].strip() if above < len(lines) else ""
    found = _MAGIC.fullmatch(first)
    if found is None:
        return Cell(None, "", code, 0)
    marks, name, line = found.groups()
    body = "".join(lines[above + 1 :])
    if marks == "%%" or name in _BODILESS or name == LOCAL:
        return Cell(name, line.strip(), body, above + 1)
    if name in _LIVYS_OWN:
        return Cell(None, "", code, 0)
    return Cell("", first, body, above + 1)


class CellReader(UserCodeParser):  # type: ignore[misc]  # sparkmagic has no types
    """Turns a cell into what IPython shall run here; SQL kernels send a bare cell to %%sql."""

    def __init__(self, bare: str = "spark", comment: str = "#") -> None:
        super().__init__()
        self.bare = bare
        self.comment = comment

    def get_code_to_run(self, code: str) -> str:
        """Called by the kernel for each cell."""
        if not code.strip():
            return ""
        cell = read(code, self.comment)
        if cell.magic is None:
            return f"%%{self.bare}\n{code}"
        if cell.magic == LOCAL:
            # IPython drops empty lines at the start, and line numbers with them.
            above = code.splitlines()[: cell.above]
            return "".join(f"# {line}\n" for line in above) + cell.body
        if cell.magic == "":
            return code
        # IPython calls a cell magic without a body a line magic; a space makes one.
        return f"%%{cell.magic} {cell.line}\n{cell.body or ' '}"
