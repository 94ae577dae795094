"""The WSGI application that gunicorn serves."""

import os
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
application: "WSGIApplication" = get_wsgi_application()
if settings.METRICS_PORT:
    # Django must be set up before its models are imported.
    from map_project.metrics.wsgi import with_metrics

    application = with_metrics(application, settings.METRICS_PORT)
