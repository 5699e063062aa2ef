"""Why Sparkyard does not start here, in one sentence that says what to do about it."""


class CannotStart(Exception):  # noqa: N818  (reads as what it says)
    """Shown to the person as it is; nothing is left running behind it."""


class Stopped(Exception):  # noqa: N818
    """Somebody asked to stop while things were still starting."""
