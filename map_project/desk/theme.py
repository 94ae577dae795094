"""The setting `UNFOLD`: titles, colors and navigation of the admin's theme (django-unfold)."""

from typing import Any

from django.templatetags.static import static

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Mini Agent Platform",
    "SITE_HEADER": "Mini Agent Platform",
    "SITE_SUBHEADER": "Admin",
    "SITE_URL": "/docs",
    "SITE_ICON": lambda _request: static("desk/logo.svg"),
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda _request: static("desk/logo.svg"),
        }
    ],
    "STYLES": [lambda _request: static("desk/desk.css")],
    "SCRIPTS": [
        lambda _request: static("desk/accessibility.js"),
        lambda _request: static("desk/desk.js"),
    ],
    "SHOW_VIEW_ON_SITE": False,
    "LOGIN": {"form": "map_project.desk.signin.SignInForm"},
    "BORDER_RADIUS": "7px",
    "COLORS": {
        "primary": {
            "50": "#eef2ff",
            "100": "#e0e7ff",
            "200": "#c7d2fe",
            "300": "#a5b4fc",
            "400": "#818cf8",
            "500": "#6366f1",
            "600": "#4f46e5",
            "700": "#4338ca",
            "800": "#3730a3",
            "900": "#312e81",
            "950": "#1e1b4b",
        }
    },
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "navigation": "map_project.desk.navigation.sidebar",
    },
}
