"""One connection's life without I/O: no event loop, no socket, no aiohttp."""
