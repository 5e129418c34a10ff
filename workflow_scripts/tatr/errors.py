"""The one exception whose message is for users, and how several are told at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

REPAIR = "`tatr verify --repair CONFIG` makes it again, and only it"
"""What to do about an artefact that is damaged."""


class TatrError(Exception):
    """Something the user can fix.

    The message names the file or the key, says what was found, what was expected and what to do next. Commands
    print it as one line, without a traceback; anything else that escapes is a bug and keeps its traceback.
    """


class JoinedError(TatrError):
    """Several things the user can fix, a line each."""

    def __init__(self, messages: Sequence[str]) -> None:
        """Of two messages or more."""
        super().__init__("\n  ".join([f"{len(messages)} problems:", *messages]))
        self.messages = tuple(messages)


def system_error(error: OSError) -> TatrError:
    """What the system says of a file, in one line."""
    path = str(error.filename or "a file")
    reason = error.strerror or str(error) or type(error).__name__
    return TatrError(f"{path if len(path) <= 200 else path[:200] + ' …'}: can't be read ({reason})")


class Problems:
    """What is wrong, collected so that a person hears of all of it at once."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Go on after a TatrError, or an error of the system, in the block; its message is kept."""
        try:
            yield
        except OSError as error:
            self._messages[str(system_error(error))] = None
        except TatrError as error:
            messages = error.messages if isinstance(error, JoinedError) else [str(error)]
            self._messages |= dict.fromkeys(messages)

    def raise_any(self) -> None:
        """Raise what was noted, if anything was.

        Raises:
            TatrError: as it was raised; or all of them in one.
        """
        if len(self._messages) > 1:
            raise JoinedError([*self._messages])
        for message in self._messages:
            raise TatrError(message)
