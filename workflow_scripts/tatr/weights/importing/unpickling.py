"""Pickles read as data: Python's own machine, without anything that it could import, call or change.

A pickle is a program for a small stack machine: it names classes and functions to be imported and called. Here a name
is only a `Global`, and an object only an `Inert`: what was stored of it. Calls go to a table of functions that the
caller gives; any other call is noted down.

The machine is the one of the standard library that is written in Python, `pickle._Unpickler`. The one in C, which goes
by `pickle.Unpickler`, can't be made safe from a subclass: it allocates what a pickle claims (a memo of 2³¹ entries for
one byte), takes extensions from a cache without asking, and hashes nested tuples until the stack overflows.
"""

import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from tatr.errors import TatrError

LARGEST = 2**24
"""Bytes that a pickle may have. Tensors lie outside it and take some 150 bytes each in it, so that pickles of
checkpoints have a few hundred kilobytes. One byte of a program can make an object of a hundred."""

_MOST_HANDED = 2**22
"""Arguments, and entries of arguments, that all calls of our functions may be given together. A tensor has some 15."""

_LONGEST_PATH = 300
"""Characters of a class's or function's name, which a program may put together anew with every few bytes."""

_DAMAGE = (
    *(pickle.UnpicklingError, struct.error, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(RecursionError, OverflowError),
)
"""What the machine raises where a program makes no sense."""


class Items(dict[Any, Any]):
    """A dict of the pickle's. Items are dropped whose key is no plain value.

    Nothing that we look for has such keys, and to hash a tuple within a tuple, and so on, overflows the stack.
    """

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401
        if isinstance(key, (str, int, float, bytes, type(None))):
            super().__setitem__(key, value)


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the pickle names; nothing is imported."""

    path: str


@dataclass(eq=False, slots=True)
class Inert:
    """What stands in for an object: its class's (or maker's) name, and what was stored of it.

    A single byte can make one, so that it is small: without a `__dict__`, and with items only once it is given some.
    """

    of: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: Items | None = None

    @property
    def attributes(self) -> dict[Any, Any]:
        """The object's `__dict__` as it was stored."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401
        if self.items is None:
            self.items = Items()
        self.items[key] = value

    def append(self, element: Any) -> None:  # noqa: ANN401
        """Elements of lists and sets are not kept: they hold nothing that we look for."""

    add = append


Calls = Mapping[str, Callable[..., Any]]
"""Our functions, by the names under which pickles call them."""


def load(file: BinaryIO, calls: Calls, persistent: Callable[[Any], Any], where: str) -> Any:  # noqa: ANN401
    """Run the pickle that starts at the file's position; the file is left just behind it.

    Args:
        file: in memory (a length that a damaged pickle claims is then no allocation).
        calls: what a call of a name may do.
        persistent: gives the value of a persistent id.
        where: the file, for messages.

    Raises:
        TatrError: an incomplete pickle, or one that no Python would have written.
    """
    try:
        return _Machine(file, calls, persistent).load()
    except _DAMAGE as error:
        reason = " ".join((str(error) or "it ends too early").split())
        if isinstance(error, LookupError):  # says only what was looked up
            reason = f"{type(error).__name__}: {reason}"
        raise TatrError(f"{where}: its pickle is damaged ({reason}); copy or save it again") from error


def items(pairs: Iterable[Any] = ()) -> Items:
    """`OrderedDict()` or `OrderedDict([[key, value], …])`."""
    made = Items()
    for key, value in pairs:
        made[key] = value
    return made


class _Machine(pickle._Unpickler):
    """Python's machine, of which every instruction that imports, calls, hashes, allocates or sets attributes is ours.

    On the stack lie plain values, `Global`, `Inert` and what the caller's functions return; nothing there can be
    called but those functions.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    # Of Python's machine, which mypy does not know to have them.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO, calls: Calls, persistent: Callable[[Any], Any]) -> None:
        # Python 2 wrote bytes as text; in what we look for they are ASCII.
        super().__init__(file, encoding="latin1")
        self._calls, self._persistent, self._handed = calls, persistent, 0

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """Our function of that name, or the bare name."""
        if len(module) + len(name) > _LONGEST_PATH:
            raise ValueError(f"it names a class with {len(module) + len(name):,} characters")
        path = f"{module}.{name}"
        return self._calls.get(path, Global(path))

    def persistent_load(self, identifier: Any) -> Any:  # noqa: ANN401
        """What stands for a storage."""
        return self._persistent(identifier)

    def get_extension(self, code: int) -> None:
        """The registry of extensions may name anything; its codes are not looked up."""
        self.append(Global(f"extension {code}"))

    def _instantiate(self, maker: Any, args: list[Any]) -> None:  # noqa: ANN401
        """Of INST and OBJ."""
        self._call(maker, tuple(args))

    def _call(self, maker: Any, args: Any) -> None:  # noqa: ANN401
        """Our own functions are called; any other call is noted, without a copy of its arguments."""
        args = args if isinstance(args, tuple) else (args,)
        if maker in self._calls.values():
            # Each argument is written once, or is short: a pickle that hands over more lets one long list be copied
            # over and over.
            self._hand(len(args))
            self._hand(sum(len(arg) for arg in args if isinstance(arg, (list, tuple, dict))))
            self.append(maker(*args))
        else:
            self.append(Inert(maker.path if isinstance(maker, Global) else type(maker).__name__, args))

    def _hand(self, count: int) -> None:
        self._handed += count
        if self._handed > _MOST_HANDED:
            raise ValueError("its calls are given more than a checkpoint has")

    def _reduce(self) -> None:
        args, maker = self.stack.pop(), self.stack.pop()
        self._call(maker, args)

    def _new_with_keywords(self) -> None:
        _, args, maker = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(maker, args)

    def _build(self) -> None:
        """State of a stand-in is kept. Of anything else it is dropped: a tensor's bounds, once checked, stay."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state

    def _dict(self) -> None:
        flat = self.pop_mark()
        self.append(items(zip(flat[::2], flat[1::2], strict=True)))

    def _frozenset(self) -> None:
        elements = self.pop_mark()  # moves `append` to the stack below
        self.append(Inert("builtins.frozenset", tuple(elements)))

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _reduce,
        pickle.NEWOBJ_EX[0]: _new_with_keywords,
        pickle.BUILD[0]: _build,
        pickle.EMPTY_DICT[0]: lambda machine: machine.append(Items()),
        pickle.DICT[0]: _dict,
        # Sets hash what they hold.
        pickle.EMPTY_SET[0]: lambda machine: machine.append(Inert("builtins.set")),
        pickle.FROZENSET[0]: _frozenset,
        # The original takes memory for the length that is claimed.
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
    }
