"""URLs of tools."""

from rest_framework.routers import SimpleRouter

from tools.views import ToolViewSet

# `<str:pk>` instead of `<uuid:pk>`: a malformed id is a 404 of the tool, and takes a unit of the quota.
router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("tools", ToolViewSet, basename="tool")
urlpatterns = router.urls
