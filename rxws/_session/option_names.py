"""Errors about unknown options, which name the right one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

__all__ = ["ALIASES", "OWNERS", "check_names"]

# What other libraries call an option of ours: websockets, aiohttp, websocket-client, Tornado,
# uvicorn and RxJS.
ALIASES = {
    "additional_headers": "headers",
    "binaryType": "codec",
    "compression": "compress",
    "connect_timeout": "open_timeout",
    "deserializer": "codec",
    "enable_compression": "compress",
    "extra_headers": "headers",
    "header": "headers",
    "http_headers": "headers",
    "http_proxy": "proxy",
    "keepalive": "heartbeat",
    "max_frame_size": "max_message_size",
    "max_payload": "max_message_size",
    "max_size": "max_message_size",
    "message_size": "max_message_size",
    "perMessageDeflate": "compress",
    "permessage_deflate": "compress",
    "ping": "heartbeat",
    "ping_interval": "heartbeat",
    "ping_timeout": "heartbeat",
    "protocol": "protocols",
    "reconnect": "backoff",
    "reconnect_delay": "backoff",
    "reconnect_interval": "backoff",
    "retry": "backoff",
    "serializer": "codec",
    "ssl_context": "ssl",
    "sslopt": "ssl",
    "subprotocol": "protocols",
    "subprotocols": "protocols",
    "verify_ssl": "ssl",
    "write_limit": "high_water",
    "write_timeout": "send_timeout",
    "ws_max_size": "max_message_size",
    "ws_ping_interval": "heartbeat",
    "ws_ping_timeout": "heartbeat",
    "websocket_max_message_size": "max_message_size",
    "websocket_ping_interval": "heartbeat",
    "websocket_ping_timeout": "heartbeat",
}

# Options of other libraries that need something else than an option.
_REMEDIES = {
    "autoclose": "rxws answers close frames itself",
    "autoping": "rxws answers pings itself",
    "cookies": "use headers={'Cookie': …}, or session= with its cookies",
    "closeObserver": "subscribe to conn.closed, or to the subject's status",
    "decode_text": "use codec=",
    "loop": "rxws uses the running event loop",
    "logger": "use logging.getLogger('rxws')",
    "max_msg_size": "use max_message_size=",
    "max_queue": "high_water= limits the received messages that wait; see also conn.flow",
    "openObserver": "use the subject's status",
    "process_request": "use rxws.upgrade after your own checks",
    "read_limit": "high_water= limits the received messages that wait; see also conn.flow",
    "receive_timeout": "use heartbeat=, or ops.timeout() in the pipeline",
    "timeout": "use open_timeout= and close_timeout=",
    "user_agent_header": "use headers={'User-Agent': …}",
}

_RPC = "rxws.rpc.Peer, rxws.rpc.Caller and rxws.rpc.serve"

# Where the options belong that not all functions have.
OWNERS = {
    "origins": "rxws.websocket, rxws.upgrade and rxws.serve",
    "incoming": "rxws.websocket, rxws.upgrade and rxws.serve",
    "path": "rxws.serve",
    "drain": "rxws.setup and rxws.serve",
    "session": "rxws.connect",
    "open_timeout": "rxws.connect",
    "headers": "rxws.connect",
    "ssl": "rxws.connect",
    "proxy": "rxws.connect",
    "origin": "rxws.connect",
    "backoff": "rxws.connections and rxws.WebSocketSubject",
    "retryable": "rxws.connections and rxws.WebSocketSubject",
    "stable_after": "rxws.connections and rxws.WebSocketSubject",
    "status": "rxws.connections",
    "opening": "rxws.WebSocketSubject",
    "queue": "rxws.WebSocketSubject",
    "queue_overflow": "rxws.WebSocketSubject",
    "ttl": "rxws.WebSocketSubject",
    "max_requests": _RPC,
    "max_calls": _RPC,
    "queue_items": _RPC,
    "queue_bytes": _RPC,
}


def check_names(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Check that all options are known.

    Args:
        function: The function that was called, such as `rxws.connect`.
        given: The names of the options.
        known: The names of all its options.

    Raises:
        TypeError: One is not. The message names the option that was probably meant.
    """
    for name in given:
        if name not in known:
            raise TypeError(f"{name}= is not an option of {function}{_hint(name, known)}")


def _hint(name: str, known: Collection[str]) -> str:
    for alias, meaning in ALIASES.items():
        if meaning == name and alias in known:
            return f": use {alias}="
    if name in OWNERS:
        return f", but of {OWNERS[name]}"
    if name in _REMEDIES:
        return f": {_REMEDIES[name]}"
    ours = ALIASES.get(name)
    if ours is None:  # misspelled; perhaps the name of another library
        names = {one.lower(): one for one in [*ALIASES, *OWNERS, *known]}  # ours replace equal ones
        matches = difflib.get_close_matches(name.lower(), names, n=1)
        if not matches:
            return f"; its options are {', '.join(sorted(known))}"
        match = names[matches[0]]
        ours = ALIASES.get(match, match)
    if ours in known:
        return f": use {ours}="
    return f"; {ours}= is one of {OWNERS[ours]}"
