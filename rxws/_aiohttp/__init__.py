"""The binding to aiohttp: the only folder that does I/O with it."""
