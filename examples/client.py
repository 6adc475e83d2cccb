"""A client has the same Connection: send with `outgoing`, receive from `incoming`.

Run `shout.py`, then `python client.py ws://127.0.0.1:8080/shout hello world`.
"""

import asyncio
import sys

from reactivex import operators as ops

import rxws


async def ask(url: str, *words: str) -> list[str]:
    async with rxws.connect(url, codec=rxws.codecs.text) as conn:
        for word in words:
            conn.outgoing.on_next(word)
        # No reply is lost before this line: `incoming` buffers until you subscribe.
        return await conn.incoming.pipe(ops.take(len(words)), ops.to_list())


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["ws://127.0.0.1:8080/shout", "hello", "world"]
    try:
        print(*asyncio.run(ask(*arguments)), sep="\n")
    except rxws.RxwsError as error:
        sys.exit(f"{type(error).__name__}: {error}")
