"""Numbers of things, and of bytes, in words."""


def counted(number: int, things: str) -> str:
    """A number of things: `1 token` or `2,000 tokens`.

    Args:
        things: in the plural, which ends in s.
    """
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"


def gib(size: float) -> str:
    """Bytes as text: `3.4 GiB`."""
    return f"{size / 2**30:,.1f} GiB"
