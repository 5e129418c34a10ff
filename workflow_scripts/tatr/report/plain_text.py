"""How times, sizes and names read in a line of plain text."""


def duration(seconds: float) -> str:
    """A time, as exact as people need: `0.4 s`, `97 s`, `5 min 27 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min" + (f" {rest} s" if rest and minutes < 10 else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "")


def size(count: float) -> str:
    """A number of bytes: `812 kB`, `3.9 GB`."""
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5 or unit == "GB":
            break
    return f"{count:.0f} {unit}" if count >= 10 or unit == "kB" else f"{count:.1f} {unit}"


def shortened(text: str, width: int) -> str:
    """A text of at most `width` characters: what is too much is taken from its middle, as names differ at their ends.

    Args:
        text: in one line.
        width: at least 1.
    """
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def counted(count: int, what: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
