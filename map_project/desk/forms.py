"""Forms to issue and to rotate API keys."""

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from map_project.tenants.number_fields import PlainIntegerField
from map_project.tenants.scopes import APPROVE, DEFAULT_SCOPES, KEYS, READ, RUN, WRITE

MAX_DAYS = 36_500

SCOPE_TEXTS = {
    READ: "every GET",
    WRITE: "create, change and delete tools, agents and webhooks",
    RUN: "run agents",
    APPROVE: "approve or decline tool calls",
    KEYS: "create, rotate and revoke API keys of the tenant",
}

GRACES = (
    (0, "Expire the old key immediately"),
    (3600, "1 hour"),
    (24 * 3600, "24 hours"),
    (7 * 24 * 3600, "7 days"),
    (30 * 24 * 3600, "30 days"),
)


class IssueForm(forms.Form):
    """Name, scopes and lifetime of a new key."""

    name = forms.CharField(
        max_length=100,
        required=False,
        help_text='For example "production".',
        widget=UnfoldAdminTextInputWidget(),
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope}: {text}") for scope, text in SCOPE_TEXTS.items()],
        initial=DEFAULT_SCOPES,
        help_text="They cannot be changed later.",
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
    )
    expires_in_days = PlainIntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        required=False,
        help_text="Leave blank for no expiry.",
        widget=UnfoldAdminIntegerFieldWidget(),
    )


class RotateForm(forms.Form):
    """How long the old key stays valid after a rotation."""

    grace = forms.TypedChoiceField(
        coerce=int,
        choices=GRACES,
        initial=24 * 3600,
        label="The old key stays valid for",
        widget=UnfoldAdminSelectWidget(choices=GRACES),
    )
