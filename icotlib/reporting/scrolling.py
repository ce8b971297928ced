"""Wide tables in a notebook: a part of the page that scrolls by itself, also by keyboard."""


def scrolling(table: str) -> str:
    """HTML of a table in a region that Tab reaches and arrow keys scroll."""
    region = "role='region' aria-label='table' tabindex='0'"
    return f"<div style='overflow-x: auto' {region}>{table}</div>"
