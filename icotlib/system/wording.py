"""Numbers of things, of bytes and of seconds, in words."""


def counted(number: int, things: str) -> str:
    """A number of things: `1 token` or `2,000 tokens`.

    Args:
        things: in the plural, which ends in s.
    """
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"


def gib(size: float) -> str:
    """Bytes as text: `3.4 GiB`."""
    return f"{size / 2**30:,.1f} GiB"


def duration(seconds: float) -> str:
    """Seconds as text, rounded: `12 s`, `50 min`, `5.6 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{round(minutes / 60, 1):g} h"
