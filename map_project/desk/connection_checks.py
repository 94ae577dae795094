"""The admin's button that tests the connection to a language model."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from agents.models import LanguageModel
from executions.connection_checks import check_connection
from map_project.postgresql.connections import released_connection


def test_connection_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Test the model as it is saved, on POST, and show the results on its page."""
    if request.method != "POST" or not request.user.has_perm("agents.change_languagemodel"):
        raise PermissionDenied
    model = LanguageModel.objects.filter(pk=pk).first()
    if model is None:
        raise Http404
    with released_connection():
        checks = list(check_connection(model))
    for check in checks:
        messages.add_message(
            request, messages.SUCCESS if check.passed else messages.ERROR, check.text
        )
    return HttpResponseRedirect(reverse("admin:agents_languagemodel_change", args=(pk,)))
