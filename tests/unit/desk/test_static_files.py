"""Static files: hashed, compressed and cached for a year in the image; served as they are in a checkout."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.http import HttpResponse
from django.templatetags.static import static
from django.test import Client, RequestFactory
from whitenoise.middleware import WhiteNoiseMiddleware


def test_a_checkout_serves_files_from_the_packages() -> None:
    response: Any = Client().get("/static/desk/desk.css")
    assert response.status_code == 200
    assert b"".join(response.streaming_content).startswith(b"/* Styles")
    assert Client().get("/static/desk/nothing.css").status_code == 404


@pytest.mark.slow
def test_collected_files_are_hashed_compressed_and_cached_for_a_year(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.WHITENOISE_USE_FINDERS = False
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    url = static("desk/desk.css")
    assert url != "/static/desk/desk.css"
    assert not (tmp_path / "desk/desk.css").exists()
    page = WhiteNoiseMiddleware(lambda request: HttpResponse(status=404))
    response = page(RequestFactory().get(url, headers={"Accept-Encoding": "gzip"}))
    response.close()
    assert response["Content-Encoding"] == "gzip"
    assert "max-age=315360000" in response["Cache-Control"]
    assert "immutable" in response["Cache-Control"]
