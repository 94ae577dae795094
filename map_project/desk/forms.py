"""Forms to issue and to rotate API keys."""

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from map_project.tenants.number_fields import PlainIntegerField

MAX_DAYS = 36_500

GRACES = (
    (0, "Expire the old key immediately"),
    (3600, "1 hour"),
    (24 * 3600, "24 hours"),
    (7 * 24 * 3600, "7 days"),
    (30 * 24 * 3600, "30 days"),
)


class IssueForm(forms.Form):
    """Name and lifetime of a new key."""

    name = forms.CharField(
        max_length=100,
        required=False,
        help_text='For example "production".',
        widget=UnfoldAdminTextInputWidget(),
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
