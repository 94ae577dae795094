"""The addresses below /admin/. Importing this module discovers every application's admin."""

from django.contrib import admin

admin.autodiscover()

urlpatterns = admin.site.get_urls()
