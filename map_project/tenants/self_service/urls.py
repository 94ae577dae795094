"""URLs of the API of keys."""

from rest_framework.routers import SimpleRouter

from map_project.tenants.self_service.views import KeyViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("keys", KeyViewSet, basename="key")
urlpatterns = router.urls
