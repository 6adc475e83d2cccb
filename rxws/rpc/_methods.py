"""The methods that the other side may call, and the checks of their arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, overload

from rxws._core.connection import Connection

from ._caller import Caller
from ._errors import InvalidParams
from ._messages import TOKEN, Params

__all__ = ["Context", "Method", "Methods"]

F = TypeVar("F", bound=Callable[..., Any])

_Kind = inspect.Parameter
_POSITIONAL = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
_NAMED = (_Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)


class Context:
    """The surroundings of one request. A method gets it in a parameter that is annotated with it.

    Attributes:
        connection: The connection that the request came from.
        caller: Calls methods of the side that has sent the request.
        method: The name of the method.

    Examples:
        ```python
        @methods.add
        async def remove(path: str, context: rxws.rpc.Context) -> bool:
            return await context.caller.call("confirm", f"Remove {path}?")
        ```
    """

    __slots__ = ("_is_cancelled", "caller", "connection", "method")

    def __init__(
        self,
        connection: Connection[Any, Any],
        caller: Caller[Any],
        method: str,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self.connection = connection
        self.caller = caller
        self.method = method
        self._is_cancelled = is_cancelled

    @property
    def cancelled(self) -> bool:
        """Whether the request was cancelled, or its connection has ended.

        The coroutine of the method is cancelled as well. Read this in code that is not: in a
        thread, for example.
        """
        return self._is_cancelled()

    def __repr__(self) -> str:
        return f"<Context {self.method!r}{' cancelled' if self.cancelled else ''}>"


class Methods(Mapping[str, Callable[..., Any]]):
    """The methods that the other side may call, by name.

    The arguments of a request are checked against the parameters. If msgspec is installed (extra
    `rxws[typed]`), they are checked against the annotations, too, and converted: to a
    `msgspec.Struct`, a dataclass, a `datetime` and so on. A mismatch is answered with -32602, and
    the method is not called.

    Examples:
        ```python
        methods = rxws.rpc.Methods()

        @methods.add
        def add(a: int, b: int) -> int:
            return a + b

        @methods.add(name="math.half")
        async def half(number: float) -> float:
            return number / 2

        @methods.add
        async def count(to: int):
            for number in range(to):
                yield number
        ```
    """

    # For the error if they are passed as a handler.
    _as_handler = "rxws.rpc.serve(methods)"

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    @overload
    def add(self, function: F, /, *, name: str | None = None) -> F: ...
    @overload
    def add(self, /, *, name: str) -> Callable[[F], F]: ...
    def add(self, function: Any = None, /, *, name: str | None = None) -> Any:
        """Add a method, also as a decorator.

        Args:
            function: A function or a coroutine function. If the result is an async generator or an
                Observable, its items are a stream of results. A parameter that is annotated with
                `Context` gets that.
            name: The name that the other side uses; by default that of the function.

        Returns:
            The function.

        Raises:
            TypeError: `function` is not callable or is a generator function; or an annotation
                cannot be resolved, or is not supported by msgspec.
            ValueError: The name is taken, or is reserved: JSON-RPC reserves `rpc.`, the Language
                Server Protocol `$/`.

        Examples:
            ```python
            methods.add(len, name="length")
            ```
        """
        if function is None:
            return partial(self.add, name=name)
        if not callable(function):
            name_it = f": use @methods.add(name={function!r:.100})" * isinstance(function, str)
            raise TypeError(f"a method is a function, not {function!r:.100}{name_it}")
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{function!r:.100} is a generator function: use `async def` with `yield`"
            )
        if name is None:
            name = getattr(function, "__name__", None)
        if not isinstance(name, str) or not name:
            raise TypeError(f"{function!r:.100} has no name: pass name=")
        if name.startswith(("rpc.", "$/")):
            raise ValueError(f"{name!r} is reserved: names must not begin with 'rpc.' or '$/'")
        if name in self._methods:
            raise ValueError(f"there is a method {name!r} already: pass another name=")
        self._methods[name] = Method(function)
        return function

    def find(self, name: str) -> Method | None:
        """Return the method of this name, with the checks of its arguments."""
        return self._methods.get(name)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._methods[name].function

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)

    def __repr__(self) -> str:
        return f"<Methods {', '.join(self._methods)}>"


_Bound = tuple[list[Any], dict[str, Any]]


class Method:
    """A function, and what binds the arguments of a request to its parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        try:
            signature = inspect.signature(function)
        except ValueError:  # some functions that are written in C have none
            signature = inspect.Signature(
                [_Kind("args", _Kind.VAR_POSITIONAL), _Kind("kwargs", _Kind.VAR_KEYWORD)]
            )
        parameters = [
            parameter.replace(annotation=_resolved(function, parameter))
            for parameter in signature.parameters.values()
        ]
        self._context: tuple[int | None, str] | None = None
        for index, parameter in enumerate(parameters):
            if parameter.annotation is Context:
                by_name_only = parameter.kind is _Kind.KEYWORD_ONLY
                self._context = None if by_name_only else index, parameter.name
                del parameters[index]
                break
        # A client of the Language Server Protocol may add a token to any request.
        self._takes_token = any(
            each.kind is _Kind.VAR_KEYWORD or each.name == TOKEN for each in parameters
        )
        self._check = _checker(function, parameters)

    def bind(self, params: Params) -> tuple[list[Any], dict[str, Any], Any]:
        """Return the arguments by position and by name, and the token of a stream, if any.

        Raises:
            InvalidParams: The arguments do not match the parameters.
        """
        token: Any = None
        if isinstance(params, dict) and TOKEN in params:
            token = params[TOKEN]
            if not isinstance(token, str | int) or isinstance(token, bool):
                raise InvalidParams(f"{TOKEN} is neither a string nor an integer")
            if not self._takes_token:
                params = {name: value for name, value in params.items() if name != TOKEN}
        args, named = self._check([] if params is None else params)
        return args, named, token

    @property
    def takes_context(self) -> bool:
        return self._context is not None

    def add_context(self, args: list[Any], named: dict[str, Any], context: Context) -> None:
        assert self._context is not None
        index, name = self._context
        if index is not None and index <= len(args):
            args.insert(index, context)
        else:
            named[name] = context


def _resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the annotation of a parameter, which may be a string; `Any` if there is none."""
    annotation = parameter.annotation
    if annotation is _Kind.empty:
        return Any
    unwrapped: Any = inspect.unwrap(function)
    for inner in ("__func__", "__call__"):
        if not hasattr(unwrapped, "__globals__"):
            unwrapped = getattr(unwrapped, inner, unwrapped)
    known = getattr(unwrapped, "__globals__", {})
    holder: Any = SimpleNamespace(__annotations__={parameter.name: annotation})
    try:
        return typing.get_type_hints(holder, known, include_extras=True)[parameter.name]
    except (NameError, AttributeError, SyntaxError) as exc:
        raise TypeError(
            f"the annotation {annotation!r} of {parameter.name!r} of {function!r:.100} cannot be "
            f"resolved: {exc}; define the type at the top level of the module, not in a function "
            "or under TYPE_CHECKING"
        ) from exc


def _checker(
    function: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[[list[Any] | dict[str, Any]], _Bound]:
    try:
        import msgspec
    except ImportError:
        return _signature_checker(parameters)
    kinds = {parameter.kind for parameter in parameters}
    if kinds & {_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD}:
        return _variable_checker(function, parameters)
    by_position = [each for each in parameters if each.kind in _POSITIONAL]
    by_name = [each for each in parameters if each.kind in _NAMED]
    needs_names = _required(parameters, _Kind.KEYWORD_ONLY)
    needs_positions = _required(parameters, _Kind.POSITIONAL_ONLY)
    array = _struct(function, by_position, array_like=True)
    record = _struct(function, by_name, array_like=False)
    names = [each.name for each in by_name]
    convert, values_of, unset = msgspec.convert, msgspec.structs.astuple, msgspec.UNSET
    bind = _signature_checker(parameters)

    def check(params: list[Any] | dict[str, Any]) -> _Bound:
        try:
            if isinstance(params, list):
                if needs_names:
                    raise InvalidParams(f"{needs_names!r} must be passed by name")
                args = list(values_of(convert(params, array)))
                while args and args[-1] is unset:
                    del args[-1]
                return args, {}
            if needs_positions:
                raise InvalidParams(f"{needs_positions!r} must be passed by position")
            values = values_of(convert(params, record))
        except msgspec.ValidationError as exc:
            bind(params)  # names an argument that is missing, where msgspec counts them
            raise InvalidParams(str(exc)) from exc
        pairs = zip(names, values, strict=True)
        return [], {name: value for name, value in pairs if value is not unset}

    return check


def _required(parameters: list[inspect.Parameter], kind: Any) -> str:
    """Return the name of the first parameter of a kind that has no default, or ""."""
    required = (
        each.name for each in parameters if each.kind is kind and each.default is each.empty
    )
    return next(required, "")


def _struct(
    function: Callable[..., Any], parameters: list[inspect.Parameter], *, array_like: bool
) -> Any:
    """Return the msgspec type of arguments by position or by name.

    Raises:
        TypeError: msgspec does not support an annotation.
    """
    import msgspec

    # The function has the defaults: msgspec would copy them.
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        (each.name, each.annotation)
        if each.default is each.empty
        else (each.name, each.annotation, msgspec.UNSET)
        for each in parameters
    ]
    try:
        struct = msgspec.defstruct(
            "Params",
            fields,
            array_like=array_like,
            forbid_unknown_fields=True,
            kw_only=not array_like,
        )
        msgspec.json.Decoder(struct)  # or raise: types are checked on first use only
    except TypeError as exc:
        raise TypeError(
            f"msgspec does not support an annotation of {function!r:.100}: {exc}"
        ) from exc
    return struct


def _variable_checker(
    function: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[[list[Any] | dict[str, Any]], _Bound]:
    """Check the arguments of a function with `*args` or `**kwargs` one by one."""
    import msgspec

    single = {each.name: _struct(function, [_plain(each)], array_like=True) for each in parameters}
    bind = _signature_checker(parameters)
    signature = inspect.Signature(parameters)

    def convert(name: str, value: Any) -> Any:
        try:
            return getattr(msgspec.convert([value], single[name]), name)
        except msgspec.ValidationError as exc:
            raise InvalidParams(f"{name}: {exc}") from exc

    def check(params: list[Any] | dict[str, Any]) -> _Bound:
        bind(params)
        args, named = (params, {}) if isinstance(params, list) else ([], params)
        bound = signature.bind(*args, **named)
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is _Kind.VAR_POSITIONAL:
                bound.arguments[name] = tuple(convert(name, each) for each in value)
            elif kind is _Kind.VAR_KEYWORD:
                converted = {key: convert(name, each) for key, each in value.items()}
                bound.arguments[name] = converted
            else:
                bound.arguments[name] = convert(name, value)
        return list(bound.args), dict(bound.kwargs)

    return check


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    return _Kind(parameter.name, _Kind.POSITIONAL_OR_KEYWORD, annotation=parameter.annotation)


def _signature_checker(
    parameters: list[inspect.Parameter],
) -> Callable[[list[Any] | dict[str, Any]], _Bound]:
    """Check the number and the names of arguments only."""
    signature = inspect.Signature(parameters)

    def check(params: list[Any] | dict[str, Any]) -> _Bound:
        args, named = (params, {}) if isinstance(params, list) else ([], params)
        try:
            signature.bind(*args, **named)
        except TypeError as exc:
            raise InvalidParams(str(exc)) from exc
        return list(args), dict(named)

    return check
