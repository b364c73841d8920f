"""Frozen dataclasses as plain JSON and back: how a checkpoint tells what models it holds."""

from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from minisora.core.errors import MinisoraError

T = TypeVar("T")


def to_plain(value: Any) -> dict[str, Any]:
    """A dataclass as dicts, lists, numbers and texts."""
    return asdict(value)


def from_plain(kind: type[T], content: object, name: str) -> T:
    """The dataclass again. What a field may hold, its type hint says; a field that is left out has its default."""
    built: Any = _build(kind, content, name)
    return built


def _build(hint: Any, content: object, name: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _dataclass(hint, content, name)
    if origin in (Union, UnionType):  # X | None is all there is
        some = next(arm for arm in args if arm is not NoneType)
        return None if content is None else _build(some, content, name)
    if origin is tuple and isinstance(content, list | tuple):
        hints = [args[0]] * len(content) if args[-1] is Ellipsis else args
        if len(hints) == len(content):
            return tuple(_build(arm, each, name) for arm, each in zip(hints, content, strict=True))
    elif origin is dict and isinstance(content, dict):
        return {key: _build(args[1], each, f"{name}.{key}") for key, each in content.items()}
    elif hint is float and type(content) in (int, float):
        return float(content)  # type: ignore[arg-type]
    elif hint in (int, str, bool) and type(content) is hint:
        return content
    wanted = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise MinisoraError(f"{name} is {str(content)[:60]!r}, and it has to be {wanted}: take a fresh copy")


def _dataclass(kind: Any, content: object, name: str) -> Any:
    if not isinstance(content, dict):
        raise MinisoraError(f"{name} is {str(content)[:60]!r}, and it has to be the fields of a {kind.__name__}")
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for key in content:
        if key not in known:
            raise MinisoraError(f"{name} has an unknown field {str(key)[:60]!r}: it was made by another version")
    try:
        return kind(**{key: _build(hints[key], each, f"{name}.{key}") for key, each in content.items()})
    except TypeError:  # a field without a default is missing
        raise MinisoraError(f"{name} lacks a field of {', '.join(known)}: take a fresh copy") from None
