"""Rejects bad messages.

Anybody who reaches the broker can put anything into its queue. A message that Celery cannot read ends the worker, and
every worker that is started after it. So each message is checked twice: when the transport reads it, and before the
worker runs it as a task. A bad message is removed from the queue and logged, without its content.
"""

from __future__ import annotations

import base64
import binascii
import logging
import traceback
from collections.abc import Callable
from typing import Any

import structlog
from celery.worker import consumer
from kombu import transport
from kombu.transport import redis
from kombu.utils.json import loads
from redis import exceptions as redis_errors

log = structlog.get_logger(__name__)
_NOTHING = type(None)
_NUMBER = (int, float)
# Types of headers that Celery uses without a check.
_HEADERS: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "id": (str,),
    "lang": (str, _NOTHING),
    "shadow": (str, _NOTHING),
    "eta": (str, _NOTHING),
    "expires": (str, *_NUMBER, _NOTHING),
    "group": (str, _NOTHING),
    "group_index": (int, _NOTHING),
    "retries": (int, _NOTHING),
    "timelimit": (list, _NOTHING),
    "root_id": (str, _NOTHING),
    "parent_id": (str, _NOTHING),
    "argsrepr": (str, _NOTHING),
    "kwargsrepr": (str, _NOTHING),
    "origin": (str, _NOTHING),
    "ignore_result": (bool, _NOTHING),
    "replaced_task_nesting": (int, _NOTHING),
    "stamped_headers": (list, _NOTHING),
    "stamps": (dict, _NOTHING),
    "compression": (str, _NOTHING),
    "scheduled": (bool, _NOTHING),
}
_REQUIRED = ("task", "id")


def require_envelope(raw: Any) -> None:
    """Check the JSON that the transport makes a message of.

    Raises:
        ValueError: it is no message.
    """
    _require(isinstance(raw, dict), "it is no JSON object")
    properties = raw.get("properties")
    _require(isinstance(properties, dict), "it has no properties")
    _require(isinstance(properties.get("delivery_tag"), str), "it has no delivery_tag")
    _require(isinstance(properties.get("delivery_info"), dict), "it has no delivery_info")
    _require(isinstance(raw.get("headers"), dict), "it has no headers")
    for name in ("content-type", "content-encoding"):
        _require(isinstance(raw.get(name), str), f"it has no {name}")
    body = raw.get("body")
    _require(isinstance(body, str), "its body is no text")
    encoding = properties.get("body_encoding")
    _require(encoding in (None, "base64"), "its body_encoding is not known")
    if encoding:
        try:
            base64.b64decode(body)
        except (binascii.Error, ValueError):
            raise ValueError("its body is not base64") from None


def require_task(message: Any) -> None:
    """Check that a message is a task of Celery's protocol 2.

    Raises:
        ValueError: it is no task.
    """
    headers = message.headers
    _require(isinstance(headers, dict), "it has no headers")
    for name, kinds in _HEADERS.items():
        if name in headers or name in _REQUIRED:
            _require(isinstance(headers.get(name), kinds), f"its header {name} is missing or of a wrong type")
    limits = headers.get("timelimit") or [None, None]
    _require(len(limits) == 2 and all(isinstance(limit, (*_NUMBER, _NOTHING)) for limit in limits), "its timelimit")  # noqa: PLR2004
    try:
        body = message.payload
    except Exception as error:
        raise ValueError(f"its body cannot be read: {type(error).__name__}") from error
    _require(isinstance(body, list | tuple) and len(body) == 3, "its body is not [args, kwargs, options]")  # noqa: PLR2004
    arguments, named, options = body
    _require(isinstance(arguments, list | tuple) and isinstance(named, dict), "its args or kwargs are of a wrong type")
    _require(options is None or isinstance(options, dict), "its options are not an object")


def _require(condition: bool, reason: str) -> None:  # noqa: FBT001
    if not condition:
        raise ValueError(reason)


def _tell(reason: str) -> None:
    log.error("backup message rejected", reason=reason, hint="who may write to the broker? see docs/settings.md")


class Consumer(consumer.Consumer):
    """Celery's consumer, which rejects messages that are no tasks."""

    connection_errors: tuple[type[BaseException], ...]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """The function that is called for each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_if_a_task(message: Any) -> None:
            try:
                require_task(message)
            except ValueError as error:
                self._reject(message, str(error))
                return
            try:
                handle(message)
            except Exception as error:  # one that ends the worker would end each later worker too
                if isinstance(error, (*self.connection_errors, MemoryError)):
                    raise
                self._reject(message, f"Celery cannot take it: {type(error).__name__}: {error}"[:200])

        return handle_if_a_task

    def _reject(self, message: Any, reason: str) -> None:
        _tell(reason)
        if not message.acknowledged:
            message.reject_log_error(logging.getLogger(__name__), self.connection_errors)


class _CheckedChannel:
    """A channel that rejects entries of a list or subscription that are not JSON."""

    connection: Any

    def _brpop_read(self, **options: Any) -> Any:
        return self._read(super()._brpop_read, **options)  # type: ignore[misc]

    def _receive_one(self, client: Any) -> Any:
        return self._read(super()._receive_one, client)  # type: ignore[misc]

    def _read(self, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.connection.delivering = False
        try:
            return read(*args, **kwargs)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if self.connection.delivering:
                raise
            if not _of_what_was_read(error):  # the socket is gone: Celery connects again
                raise redis_errors.ConnectionError(f"the connection to the broker is gone: {error!r}") from error
            _tell(f"it is no JSON: {type(error).__name__}")
            return True


def _of_what_was_read(error: Exception) -> bool:
    """Whether the error is in the text that the broker returned, and not in the connection."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == loads.__module__ for frame, _ in frames)


class _CheckedTransport:
    """A transport that rejects JSON that is no message."""

    delivering = False

    def _deliver(self, message: Any, queue: Any) -> Any:
        self.delivering = True
        try:
            require_envelope(message)
        except ValueError as error:
            _tell(str(error))
            return None
        return super()._deliver(message, queue)  # type: ignore[misc]


class Channel(_CheckedChannel, redis.Channel):
    """A channel of a Redis."""


class Transport(_CheckedTransport, redis.Transport):
    """A Redis as broker."""

    Channel = Channel


class SentinelChannel(_CheckedChannel, redis.SentinelChannel):
    """A channel of a Redis behind sentinels."""


class SentinelTransport(_CheckedTransport, redis.SentinelTransport):
    """A Redis behind sentinels, as broker."""

    Channel = SentinelChannel


def read_carefully() -> None:
    """Use these transports for every connection to a Redis in this process, also after a reconnect."""
    for name, kind in (("redis", "Transport"), ("rediss", "Transport"), ("sentinel", "SentinelTransport")):
        transport.TRANSPORT_ALIASES[name] = f"{__name__}:{kind}"
