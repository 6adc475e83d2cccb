"""JSON-RPC 2.0 in both directions: requests, answers, and streams of answers.

Examples:
    ```python
    methods = rxws.rpc.Methods()

    @methods.add
    def add(a: int, b: int) -> int:
        return a + b

    async with rxws.serve(rxws.rpc.serve(methods)) as server, rxws.connect(server.url) as conn:
        caller = rxws.rpc.Caller(conn)
        print(await caller.call("add", 1, 2))
    ```
"""

from ._caller import Caller
from ._endpoint import RpcStats
from ._errors import (
    CallLost,
    CallTimeout,
    ErrorCode,
    ResponseError,
    StreamOverflow,
    TooManyCalls,
)
from ._methods import Context, Methods
from ._options import PeerOptions
from ._peer import Peer, serve

__all__ = [
    "CallLost",
    "CallTimeout",
    "Caller",
    "Context",
    "ErrorCode",
    "Methods",
    "Peer",
    "PeerOptions",
    "ResponseError",
    "RpcStats",
    "StreamOverflow",
    "TooManyCalls",
    "serve",
]
