"""Errors of webhooks."""

from map_project.api.errors import ApiError


class WebhookNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "WEBHOOK_NOT_FOUND"
    message = "The webhook does not exist."
    example_details = {"webhook_id": "0197a3c3-11d0-7a52-8e9b-4a6c1f0b7d33"}


class DeliveryNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "DELIVERY_NOT_FOUND"
    message = "The webhook has no such delivery."
    example_details = {"delivery_id": "0197a3c3-2f40-7c11-93d5-0b8e6a4c2d19"}
