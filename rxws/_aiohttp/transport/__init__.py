"""The transport of a session on aiohttp's WebSockets: how frames are read and written."""
