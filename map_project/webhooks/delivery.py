"""Deliveries: signed requests, at least once, repeated for three days (Standard Webhooks 1.0.0)."""

import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from standardwebhooks import Webhook

from map_project import VERSION
from map_project.api import secrets
from map_project.api.texts import utc_text
from map_project.postgresql.connections import released_connection
from map_project.usage.counters import WEBHOOK_DELIVERIES, increase
from map_project.webhooks.models import TEST_EVENT, WebhookDelivery, WebhookEndpoint
from tools.invokers.url import UrlError, parse_url
from tools.outbound import OutboundError, send

logger = logging.getLogger("map.webhooks")

# From one attempt to the next: about three days in total.
DELAYS_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1
MAX_RETRY_AFTER_SECONDS = 86_400
TIMEOUT_SECONDS = 15.0
# After this time another worker repeats an attempt whose worker has ended.
CLAIM = timedelta(seconds=60)
DISABLED_AFTER = timedelta(days=3)
POLL_SECONDS = 1.0
# Of one process.
CONCURRENCY = 16


def begin() -> None:
    """Deliver what is due, in threads, for as long as the process runs."""
    threading.Thread(target=_deliver_repeatedly, name="webhooks", daemon=True).start()


def _deliver_repeatedly() -> None:
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="webhook") as threads:
        permits = threading.Semaphore(CONCURRENCY)
        while True:
            # Until a thread is free.
            with permits:
                pass
            try:
                due = claim_due(CONCURRENCY)
            except Error as error:
                logger.warning("cannot read deliveries: %s", type(error).__name__)
                due = []
            finally:
                connection.close()
            for delivery in due:
                permits.acquire()
                threads.submit(_deliver_in_thread, delivery).add_done_callback(
                    lambda _: permits.release()
                )
            if len(due) < CONCURRENCY:
                time.sleep(POLL_SECONDS)


def _deliver_in_thread(delivery: WebhookDelivery) -> None:
    try:
        deliver(delivery)
    except Exception:
        # Its claim expires, and it is repeated.
        logger.exception("the delivery %s failed", delivery.pk)
    finally:
        connection.close()


def claim_due(count: int) -> list[WebhookDelivery]:
    """Return deliveries that are due, which no other worker makes for the time of `CLAIM`."""
    due = WebhookDelivery.objects.filter(
        status=WebhookDelivery.Status.PENDING, next_attempt_at__lte=Now()
    )
    with transaction.atomic():
        rows = due.order_by("next_attempt_at").select_for_update(skip_locked=True)
        claimed = [*rows[:count]]
        ids = [delivery.pk for delivery in claimed]
        WebhookDelivery.objects.filter(pk__in=ids).update(next_attempt_at=Now() + CLAIM)
    return claimed


def deliver(delivery: WebhookDelivery) -> None:
    """Make one attempt, and store its result. Raises DatabaseError."""
    endpoint = WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).first()
    if endpoint is None or not (endpoint.is_active or delivery.event_type == TEST_EVENT):
        _finish(delivery, WebhookDelivery.Status.FAILED, error="disabled")
        return
    with released_connection():
        status, error, retry_after_seconds = _attempt(delivery, endpoint)
    delivery.attempts += 1
    delivery.response_status, delivery.error = status, error
    if status is not None and 200 <= status < 300:
        _finish(delivery, WebhookDelivery.Status.SUCCEEDED, error="")
        WebhookEndpoint.objects.filter(pk=endpoint.pk).exclude(failing_since=None).update(
            failing_since=None
        )
        return
    _disable_if_needed(endpoint, status)
    if delivery.attempts > len(DELAYS_SECONDS) or delivery.event_type == TEST_EVENT:
        _finish(delivery, WebhookDelivery.Status.FAILED, error=error)
        return
    delay_seconds = max(_delay_seconds(delivery.attempts), retry_after_seconds)
    _update(delivery, next_attempt_at=Now() + timedelta(seconds=delay_seconds))


def body(delivery: WebhookDelivery) -> bytes:
    """Return the body of a delivery, the same for each attempt. It has IDs and no texts of the run."""
    status = delivery.event_type.removeprefix("execution.")
    data = delivery.data or {}
    if delivery.execution_id is not None:
        data = {"id": str(delivery.execution_id), "status": status}
    created_at = utc_text(delivery.created_at)
    return orjson.dumps({"type": delivery.event_type, "timestamp": created_at, "data": data})


def _attempt(delivery: WebhookDelivery, endpoint: WebhookEndpoint) -> tuple[int | None, str, float]:
    """Send the request. Return its HTTP status (None without a response), an error code, and the delay that
    the server asks for.
    """
    content, sent_at = body(delivery), datetime.now(UTC)
    try:
        url = parse_url(endpoint.url)
        headers = [
            ("content-type", "application/json"),
            ("user-agent", f"mini-agent-platform/{VERSION}"),
            ("webhook-id", str(delivery.pk)),
            ("webhook-timestamp", str(int(sent_at.timestamp()))),
            (
                "webhook-signature",
                _signatures(endpoint, str(delivery.pk), sent_at, content.decode()),
            ),
        ]
        response = send(
            url.origin,
            method="POST",
            path=url.fill(lambda _: ""),
            headers=headers,
            body=content,
            max_bytes=64 * 1024,
            deadline=time.monotonic() + TIMEOUT_SECONDS,
        )
    except OutboundError as error:
        return None, error.code, 0
    except (secrets.Unreadable, ImproperlyConfigured):
        return None, "secret_unreadable", 0
    except UrlError:
        # A row that was written by other means, or by a version with other rules.
        return None, "bad_request", 0
    is_success = 200 <= response.status < 300
    return (
        response.status,
        "" if is_success else f"http_{response.status}",
        _retry_after_seconds(response.headers.get("retry-after", "")),
    )


def _signatures(endpoint: WebhookEndpoint, delivery_id: str, sent_at: datetime, text: str) -> str:
    tokens = [endpoint.secret_token]
    expires_at = endpoint.previous_secret_expires_at
    if endpoint.previous_secret_token and expires_at and expires_at > timezone.now():
        tokens.append(endpoint.previous_secret_token)
    return " ".join(
        Webhook(secrets.decrypt(token)).sign(msg_id=delivery_id, timestamp=sent_at, data=text)
        for token in tokens
    )


def _disable_if_needed(endpoint: WebhookEndpoint, status: int | None) -> None:
    """Deactivate an endpoint that is gone (410), or has failed for three days."""
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    rows.filter(failing_since=None).update(failing_since=Now())
    reason = ""
    if status == 410:
        reason = "The endpoint responded with 410 Gone."
    elif endpoint.failing_since and endpoint.failing_since < timezone.now() - DISABLED_AFTER:
        reason = "All deliveries failed for three days."
    if reason:
        rows.update(is_active=False, disabled_reason=reason)
        logger.warning("webhook %s was deactivated: %s", endpoint.pk, reason)


def _delay_seconds(attempts: int) -> float:
    delay_seconds = DELAYS_SECONDS[attempts - 1]
    return delay_seconds * random.uniform(1, 1 + JITTER)  # noqa: S311  jitter


def _retry_after_seconds(text: str) -> float:
    return min(float(text), MAX_RETRY_AFTER_SECONDS) if text.isdecimal() and text.isascii() else 0


def _finish(delivery: WebhookDelivery, status: WebhookDelivery.Status, *, error: str) -> None:
    delivery.error = error
    with transaction.atomic():
        _update(delivery, status=status, finished_at=Now(), next_attempt_at=None)
        increase(WEBHOOK_DELIVERIES, outcome=status.value)


def _update(delivery: WebhookDelivery, **columns: object) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        attempts=delivery.attempts,
        response_status=delivery.response_status,
        error=delivery.error,
        **columns,
    )
