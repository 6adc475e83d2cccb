"""The options of a connection, which several commands share."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import getproxies, proxy_bypass

import click
from aiohttp import encode_basic_auth
from click.core import ParameterSource
from multidict import CIMultiDict
from yarl import URL

from rxws._aiohttp.client import ClientOptions

from ._command import ConnectionOption, Number

__all__ = [
    "Target",
    "TargetOf",
    "client_options",
    "connection_options",
    "optional_connection",
    "parse_url",
    "refuse_connection_options",
]

_Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, section 5.6.2
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, section 5.5
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@dataclass(frozen=True, slots=True)
class Target:
    """The server that a command connects to.

    Args:
        url: Its address.
        options: The keyword arguments for `rxws.connect`, `rxws.connections`,
            `rxws.WebSocketSubject` or `rxws.hub.connect`, without a codec.
    """

    url: URL
    options: ClientOptions


TargetOf: TypeAlias = Callable[[URL], Target]


def parse_url(text: str) -> URL:
    """Complete an address: `localhost:8080/chat` and `:8080` are `ws://localhost:8080…`."""
    address = text
    if re.match("(?:ws|http)s?:(?!//|[0-9])", text, re.IGNORECASE):
        raise click.BadParameter(f"{text!r}: two slashes must follow the scheme, as in ws://.")
    if re.search(r"\s", text):
        raise click.BadParameter(f"{text!r} contains a space or a line break.")
    if "://" not in text:
        address = f"ws://{'localhost' if text.startswith(':') else ''}{text}"
    try:
        url = URL(address)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a URL: {error}.") from error
    if url.scheme not in _SCHEMES:
        raise click.BadParameter(f"{text!r}: use ws:// or wss://.")
    if not url.host:
        raise click.BadParameter(f"{text!r} has no host: use an address such as ws://localhost:80.")
    return url.with_scheme(_SCHEMES[url.scheme]).with_fragment(None)


def _header(text: str) -> tuple[str, str]:
    """Split `Name: value`."""
    name, colon, value = text.partition(":")
    if not colon or not re.fullmatch(_TOKEN, name.strip()) or _CONTROL.search(text):
        raise click.BadParameter(f"{text!r} is not a header: use 'Name: value'.")
    return name.strip(), value.strip()


def _subprotocol(text: str) -> str:
    if not re.fullmatch(_TOKEN, text):
        raise click.BadParameter(f"{text!r} is not a subprotocol: use a name without spaces.")
    return text


def _origin(text: str) -> str:
    if _CONTROL.search(text):
        raise click.BadParameter(f"{text!r} contains a control character.")
    return text


def _proxy(text: str) -> str:
    """Complete the address of a proxy: `localhost:3128` is `http://localhost:3128`."""
    address = text if "://" in text else f"http://{text}"
    try:
        url = URL(address)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise click.BadParameter(f"{text!r}: use an HTTP proxy, such as http://localhost:3128.")
    return address


def _proxy_of_environment(url: URL) -> str | None:
    """Return the proxy that the environment names for a wss:// URL, as curl uses it for https://.

    Raises:
        click.UsageError: It is no HTTP proxy.
    """
    if url.scheme != "wss" or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    proxies = getproxies()
    for name in ("wss", "https"):
        if name in proxies:
            try:
                return _proxy(proxies[name])
            except click.BadParameter as error:
                raise click.UsageError(f"{name.upper()}_PROXY={error.message}") from error
    return None


def _options() -> list[_Decorator]:
    option = partial(click.option, cls=ConnectionOption)
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    seconds = Number(0, min_open=True)
    return [
        option(
            "headers",
            "-H",
            "--header",
            type=_header,
            metavar="'NAME: VALUE'",
            multiple=True,
            help="Add a header to the request.",
        ),
        option(
            "protocols",
            "-s",
            "--subprotocol",
            type=_subprotocol,
            metavar="NAME",
            multiple=True,
            help="Offer a subprotocol; the first is preferred.",
        ),
        option(
            "--auth",
            metavar="USER[:PASSWORD]",
            help="Use HTTP basic authentication; asks for a missing password.",
        ),
        option("--origin", type=_origin, metavar="ORIGIN", help="Send this Origin header."),
        option(
            "--ca",
            type=file,
            metavar="FILE",
            help="Trust the certificates in this PEM file, instead of the system's.",
        ),
        option("--cert", type=file, metavar="FILE", help="Present this client certificate."),
        option(
            "--key",
            type=file,
            metavar="FILE",
            help="The key of --cert, unless that file contains it.",
        ),
        option("-k", "--insecure", is_flag=True, help="Accept any certificate."),
        option(
            "--proxy",
            type=_proxy,
            metavar="URL",
            help="Connect to wss:// through an HTTP proxy.  [default: $HTTPS_PROXY]",
        ),
        option(
            "--open-timeout",
            type=seconds,
            metavar="SECONDS",
            default=10.0,
            show_default=True,
            help="Give up opening the connection after this time.",
        ),
        option(
            "--heartbeat",
            type=Number(0),
            metavar="SECONDS",
            default=20.0,
            show_default=True,
            help="Ping this often, and close if the server does not answer; 0 disables it.",
        ),
        option(
            "--max-size",
            type=click.IntRange(1),
            metavar="BYTES",
            default=16 << 20,
            show_default=True,
            help="Close if a message is larger.",
        ),
        option("--compress/--no-compress", default=True, help="Offer compression, or not."),
    ]


def client_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a connection to a command, without the argument URL.

    The command's function gets `target_of`, which makes a `Target` of a URL.
    """

    @wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        options = {name: given.pop(name) for name in signature(_target).parameters if name != "url"}
        return function(*args, target_of=partial(_target, **options), **given)

    decorated: Callable[..., Any] = command
    for option in reversed(_options()):
        decorated = option(decorated)
    return decorated


def connection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument URL and the options of a connection to a command.

    The command's function gets them as `target`, a `Target`.
    """

    @wraps(function)
    def command(*args: Any, url: URL, target_of: TargetOf, **given: Any) -> Any:
        return function(*args, target=target_of(url), **given)

    return click.argument("url", type=parse_url, metavar="URL")(client_options(command))


def optional_connection(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --url and the options of a connection to a command.

    The command's function gets them as `target`: a `Target`, or None without --url.
    """

    @wraps(function)
    def command(*args: Any, url: URL | None, target_of: TargetOf, **given: Any) -> Any:
        if url is not None:
            return function(*args, target=target_of(url), **given)
        refuse_connection_options("--url")
        return function(*args, target=None, **given)

    return click.option(
        "url", "--url", type=parse_url, metavar="URL", help="The address of a server."
    )(client_options(command))


def refuse_connection_options(needed: str) -> None:
    """Refuse the options of a connection, which have no effect without what is needed.

    Raises:
        click.UsageError: One of them is given.
    """
    ctx = click.get_current_context()
    for each in ctx.command.params:
        is_given = ctx.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
        if isinstance(each, ConnectionOption) and is_given:
            raise click.UsageError(f"{each.opts[-1]} needs {needed}.")


def _target(
    url: URL,
    *,
    headers: tuple[tuple[str, str], ...],
    protocols: tuple[str, ...],
    auth: str | None,
    origin: str | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    insecure: bool,
    proxy: str | None,
    open_timeout: float,
    heartbeat: float,
    max_size: int,
    compress: bool,
) -> Target:
    options: ClientOptions = {
        "protocols": protocols,
        "open_timeout": open_timeout,
        "heartbeat": heartbeat or None,
        "max_message_size": max_size,
        "compress": compress,
    }
    if auth is not None:
        user, colon, password = auth.partition(":")
        if not colon:
            password = click.prompt(f"Password of {user}", hide_input=True, err=True)
        headers += (("Authorization", encode_basic_auth(user, password, "utf-8")),)
    if headers:
        options["headers"] = CIMultiDict(headers)
    if origin is not None:
        options["origin"] = origin
    if proxy is not None and url.scheme == "ws":
        raise click.UsageError(f"--proxy={proxy} needs a wss:// URL, not {str(url)!r}.")
    if proxy is None:
        proxy = _proxy_of_environment(url)
    if proxy is not None:
        options["proxy"] = proxy
    if (context := _tls(ca, cert, key, insecure)) is not None:
        options["ssl"] = context
    return Target(url, options)


def _tls(
    ca: Path | None, cert: Path | None, key: Path | None, insecure: bool
) -> ssl.SSLContext | None:
    if key is not None and cert is None:
        raise click.UsageError(f"--key={key} needs --cert.")
    if ca is None and cert is None and not insecure:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        files = " and ".join(str(file) for file in (ca, cert, key) if file is not None)
        raise click.UsageError(f"{files}: not a PEM file that can be used: {error}.") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
