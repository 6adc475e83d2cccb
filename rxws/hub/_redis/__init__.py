"""The backplane on Redis, for hubs in several processes."""

try:
    from .backplane import RedisBackplane
except ModuleNotFoundError as exc:
    if exc.name is None or exc.name.partition(".")[0] != "redis":
        raise
    raise ImportError("RedisBackplane needs redis-py: pip install 'rxws[redis]'") from exc

__all__ = ["RedisBackplane"]
