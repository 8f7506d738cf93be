"""The roles, as groups of permissions. They are what stands here: `migrate` writes them anew.

Whoever needs something else makes a group of their own; these four are left to this file.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission

APPLICATIONS = ("journal", "decisions", "risk", "reflection")
VIEWER, REVIEWER, RISK_OFFICER, ADMIN = "viewer", "reviewer", "risk officer", "admin"

REVIEWS = ("journal.annotate_trade", "journal.edit_playbook")
DECIDES = (
    "risk.halt_trading",
    "risk.resume_trading",
    "decisions.lift_block",
    "journal.promote_playbook",
    "decisions.add_scheduledevent",
    "decisions.change_scheduledevent",
    "decisions.delete_scheduledevent",
)
KEEPS_ACCOUNTS = (
    "auth.view_user",
    "auth.add_user",
    "auth.change_user",
    "auth.view_group",
    "auth.add_group",
    "auth.change_group",
    "accounts.view_accountevent",
    "admin.view_logentry",
)

ROLES: dict[str, tuple[str, ...]] = {
    VIEWER: (),
    REVIEWER: REVIEWS,
    RISK_OFFICER: DECIDES,
    ADMIN: (*REVIEWS, *DECIDES, *KEEPS_ACCOUNTS),
}
"""What each may do besides seeing every table of the applications."""


def write_roles(**_: Any) -> None:
    """Give each role exactly its permissions."""
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    seeing = {name for name in known if name.startswith(tuple(f"{label}.view_" for label in APPLICATIONS))}
    for role, added in ROLES.items():
        group, _created = Group.objects.get_or_create(name=role)
        group.permissions.set([known[name] for name in {*seeing, *added} & known.keys()])
