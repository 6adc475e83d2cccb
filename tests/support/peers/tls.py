"""The certificate of the TLS tests, for localhost.

Its key is public, so it is for these tests only. It is valid for a hundred years.
"""

from __future__ import annotations

from pathlib import Path

PEM = Path(__file__).with_name("localhost.pem")
