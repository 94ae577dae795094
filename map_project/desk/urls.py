"""The addresses below /admin/. Importing this module discovers every application's admin, and sets axes
to watch who signs in.
"""

from django.contrib import admin

from map_project.desk.apps import AxesConfig

AxesConfig.initialize()
admin.autodiscover()

urlpatterns = admin.site.get_urls()
