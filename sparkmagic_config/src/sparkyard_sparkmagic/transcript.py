"""What a statement printed, shown once.

While it runs, its output arrives as a stream, in the order of printing. At the end Livy's answer holds the text
again: standard output, the value of the last expression, then standard error. What the stream has shown must not
appear twice, and nothing may be lost, whatever part of it the stream had.
"""

from collections import Counter


def rest(streamed: str, final: str) -> str:
    """The part of `final` that `streamed` has not shown."""
    if not streamed.strip():
        return final
    shown = streamed.rstrip()
    if final.startswith(shown):
        return final[len(shown) :].lstrip("\n")
    # Standard error was printed in between, or only a part was streamed: compare line by line.
    left = Counter(streamed.splitlines())
    missing = []
    for line in final.splitlines():
        if left[line] > 0:
            left[line] -= 1
        else:
            missing.append(line)
    return "\n".join(missing)
