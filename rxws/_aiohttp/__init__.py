"""Clients and servers on aiohttp; no other folder does I/O with it."""
