"""The forms of what is done to keys."""

from datetime import timedelta

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

MAX_DAYS = 36_500

GRACES = (
    (0, "None: the old key ends now"),
    (3600, "1 hour"),
    (24 * 3600, "24 hours"),
    (7 * 24 * 3600, "7 days"),
    (30 * 24 * 3600, "30 days"),
)


class IssueForm(forms.Form):
    """A new key."""

    name = forms.CharField(
        max_length=100,
        required=False,
        help_text="What the key is for, such as: production.",
        widget=UnfoldAdminTextInputWidget(),
    )
    expires_in_days = forms.IntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        required=False,
        help_text="Empty: it does not expire.",
        widget=UnfoldAdminIntegerFieldWidget(),
    )

    def expires_in(self) -> timedelta | None:
        """How long the key is to live."""
        days: int | None = self.cleaned_data["expires_in_days"]
        return timedelta(days=days) if days else None


class RotateForm(forms.Form):
    """A new key in the place of another."""

    grace = forms.TypedChoiceField(
        coerce=int,
        choices=GRACES,
        initial=24 * 3600,
        label="The old key stays valid for",
        widget=UnfoldAdminSelectWidget(choices=GRACES),
    )
