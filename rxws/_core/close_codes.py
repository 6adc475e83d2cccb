"""The table of close codes."""

from typing import NamedTuple

__all__ = ["CLOSE_CODES", "CloseCode"]


class CloseCode(NamedTuple):
    """What rxws knows about a close code."""

    name: str  # shown in notebooks
    reason: str = ""  # sent when rxws itself closes with this code
    sendable: bool = True  # whether a close frame may carry the code


# From RFC 6455, section 7.4.1; IANA's registry adds 1012 to 1014. The other codes below 3000 are
# reserved.
CLOSE_CODES = {
    1000: CloseCode("normal closure"),
    1001: CloseCode("going away", "Going Away"),
    1002: CloseCode("protocol error", "Protocol Error"),
    1003: CloseCode("unsupported data", "Unsupported Data"),
    1005: CloseCode("no code received", sendable=False),
    1006: CloseCode("abnormal closure", sendable=False),
    1007: CloseCode("invalid payload", "Invalid Data"),
    1008: CloseCode("policy violation"),
    1009: CloseCode("message too big", "Message Too Big"),
    1010: CloseCode("missing extension"),
    1011: CloseCode("internal error", "Unexpected Error"),
    1012: CloseCode("service restart", "Service Restart"),
    1013: CloseCode("try again later", "Try Again Later"),
    1014: CloseCode("bad gateway"),
    1015: CloseCode("TLS handshake failed", sendable=False),
}
