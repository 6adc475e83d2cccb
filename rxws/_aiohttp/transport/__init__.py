"""A session's transport on aiohttp: reads frames, writes frames."""
