"""Checks at the start that Celery can use the URLs of broker and results: its own errors quote a URL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery
from celery.app import backends

from app.errors import SettingsError
from app.settings.model import Settings
from app.urls import BACKENDS, require_results, scheme_of

_REDIS = ("redis", "rediss", "sentinel")


def require_usable(app: Celery, settings: Settings) -> None:
    """Let Celery read both URLs, without connecting.

    Raises:
        SettingsError: Celery cannot read one.
    """
    brokers = settings.celery_broker_url.get_secret_value().split(";")
    problems = [_problem("CELERY_BROKER_URL", partial(_open_broker, app, url)) for url in brokers]
    problems.append(_problem_of_results(app, settings))
    if found := [problem for problem in dict.fromkeys(problems) if problem]:
        raise SettingsError.of(found)


def _open_broker(app: Celery, url: str) -> None:
    connection = app.connection_for_write(url)
    _ = connection.transport


def _problem_of_results(app: Celery, settings: Settings) -> str | None:
    url = settings.result_backend
    kind = scheme_of(url).partition("+")[0]
    given = settings.celery_result_backend is not None
    if not given and kind not in BACKENDS:
        return f"CELERY_RESULT_BACKEND: missing; {kind}:// keeps no results, so name another place for them"
    name = "CELERY_RESULT_BACKEND" if given else "CELERY_BROKER_URL"
    try:
        require_results(url)
    except ValueError as error:  # our own words
        return f"{name}: {error}"
    return _problem(name, partial(_open_results, app, url))


def _open_results(app: Celery, url: str) -> None:
    found: Any = backends.by_url(url, app.loader)  # a pair; celery-types is wrong
    backend, rest = found
    if scheme_of(url).partition("+")[0] in _REDIS:  # other backends may connect in their constructor
        backend(app=app, url=rest)


def _problem(setting: str, use: Callable[[], object]) -> str | None:
    try:
        use()
    except ImportError as error:
        return f"{setting}: needs a Python package that is not installed: {error.name or 'see the docs of Celery'}"
    except Exception as error:  # noqa: BLE001 -- each transport raises errors of its own, which quote the URL
        return f"{setting}: Celery cannot read the URL ({type(error).__name__}); compare it with Celery's docs"
    return None
