"""Pickles read as data: a pickle machine that can call nothing.

A pickle is a program for a small stack machine, and Python's own machine imports and calls whatever the program names.
This one runs the same programs, but has no way to import: a global is only its name, an object only what was stored of
it. Calls go to a table of functions that the caller gives; a call of anything else is noted down in an `Inert`.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from tatr.errors import TatrError

LARGEST = 2**26
"""Bytes that a pickle may have. Tensors lie beside it, so that those of checkpoints have some hundred kilobytes."""


@dataclass(frozen=True)
class Global:
    """A class or function that the pickle names; nothing is imported."""

    path: str


@dataclass(eq=False)
class Inert:
    """What stands in for an object: its class's (or maker's) name, and what was stored of it."""

    of: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[Any, Any]:
        """The object's `__dict__` as it was stored."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, dict) else {}


Calls = Mapping[str, Callable[..., Any]]
"""Functions of ours, by the names under which pickles call them."""


def load(file: BinaryIO, calls: Calls, persistent: Callable[[Any], Any], source: str) -> Any:  # noqa: ANN401
    """Run the pickle that starts at the file's position; the file is left just behind it.

    Args:
        file: in memory (a length that a damaged pickle claims is then no allocation).
        calls: what a call of a name may do.
        persistent: gives the value of a persistent id.
        source: for messages.

    Raises:
        TatrError: not a whole pickle, or one that no Python would have written.
    """
    try:
        return _Machine(calls, persistent).run(file)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise TatrError(f"{source}: its pickle is damaged ({error}); copy or save it again") from error


class _Machine:
    """The stack, the marks and the memo of one run."""

    def __init__(self, calls: Calls, persistent: Callable[[Any], Any]) -> None:
        self.calls, self.persistent = calls, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:  # noqa: ANN401
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in _LITERALS:
                self.stack.append(argument)
            elif opcode.name in _MAKERS:
                self.stack.append(_MAKERS[opcode.name]())
            elif opcode.name in _STEPS:
                _STEPS[opcode.name](self, argument)
            elif opcode.name not in _IGNORED:
                raise ValueError(f"unexpected opcode {opcode.name}")
        raise ValueError("no STOP")

    def push(self, value: Any) -> None:  # noqa: ANN401
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def mark(self, _: object) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def drop(self, _: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, (Inert, set)):  # neither holds what we look for
            raise ValueError(f"items are added to {type(target).__name__}")

    def set_items(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, (dict, Inert)):
            raise ValueError(f"items are set in {type(target).__name__}")
        into = target if isinstance(target, dict) else target.items
        into.update(_pairs(zip(flat[::2], flat[1::2], strict=True)))

    def call(self, maker: Any, args: Any) -> None:  # noqa: ANN401
        """REDUCE, NEWOBJ, INST and OBJ alike: one of our own functions, or a note of what would have been called."""
        path = maker.path if isinstance(maker, Global) else type(maker).__name__
        args = args if isinstance(args, tuple) else (args,)
        self.stack.append(self.calls[path](*args) if path in self.calls else Inert(path, args))

    def build(self, _: object) -> None:
        """State of a stand-in is kept. That of anything else (attributes of an ordered dict) is not wanted."""
        (state,) = self.pop(1)
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state

    def stack_global(self, _: object) -> None:
        module, name = self.pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global without a name")
        self.stack.append(Global(f"{module}.{name}"))

    def obj(self, _: object) -> None:
        maker, *args = self.pop_mark()
        self.call(maker, tuple(args))


def _pairs(pairs: Any) -> dict[Any, Any]:  # noqa: ANN401
    # Keys of other types do not occur in what we look for; hashing them might recurse without end.
    return {key: value for key, value in pairs if isinstance(key, (str, int, float, bytes, type(None)))}


def ordered_dict(pairs: Any = ()) -> dict[Any, Any]:  # noqa: ANN401
    """`OrderedDict()` or `OrderedDict([[key, value], …])`."""
    return _pairs((key, value) for key, value in pairs)


_IGNORED = {"PROTO", "FRAME"}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": lambda m, _: m.pop_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "FROZENSET": lambda m, _: m.push(Inert("frozenset", tuple(m.pop_mark()))),
    "DICT": lambda m, _: (flat := m.pop_mark(), m.push({}), m.set_items(flat)),
    "APPEND": lambda m, _: m.append(m.pop(1)),
    "APPENDS": lambda m, _: m.append(m.pop_mark()),
    "ADDITEMS": lambda m, _: m.append(m.pop_mark()),
    "SETITEM": lambda m, _: m.set_items(m.pop(2)),
    "SETITEMS": lambda m, _: m.set_items(m.pop_mark()),
    "GLOBAL": lambda m, argument: m.push(Global(argument.replace(" ", "."))),
    "STACK_GLOBAL": _Machine.stack_global,
    # The registry of extensions may name anything; its codes are not looked up.
    "EXT1": lambda m, code: m.push(Global(f"extension {code}")),
    "EXT2": lambda m, code: m.push(Global(f"extension {code}")),
    "EXT4": lambda m, code: m.push(Global(f"extension {code}")),
    "REDUCE": lambda m, _: m.call(*m.pop(2)),
    "NEWOBJ": lambda m, _: m.call(*m.pop(2)),
    "NEWOBJ_EX": lambda m, _: m.call(*m.pop(3)[:2]),
    "INST": lambda m, argument: m.call(Global(argument.replace(" ", ".")), tuple(m.pop_mark())),
    "OBJ": _Machine.obj,
    "BUILD": _Machine.build,
    "PERSID": lambda m, argument: m.push(m.persistent(argument)),
    "BINPERSID": lambda m, _: m.push(m.persistent(*m.pop(1))),
}
