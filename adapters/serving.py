"""Which versions serve a user, as the rows say: activate, pin, try, roll back, retire; by hand or by themselves.

At most one version is active, and at most one other, the canary, is tried beside it. A pinned one has none beside it.
`registry.py` follows the rows.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from adapters import versions
from adapters.versions import Version
from preference import jobs, users
from preference.errors import Conflict
from preference.owner import Owner
from preference.users import User

CANARY = "canary"
"""The kind of the job that decides about a canary, and the key of what is noted in a version's report."""
DAY = 86_400.0


@dataclass(frozen=True)
class Policy:
    """What versions do by themselves.

    An admitted version first answers ``canary_share`` of its user's conversations, in [0, 1]; a tenant may have a share
    of its own. 0: it is active at once. It is decided upon after ``canary_edits`` edited conversations, or after
    ``canary_days``. ``kept`` versions of a user stay on the disk.
    """

    canary_share: float = 0.0
    tenant_canary_shares: Mapping[str, float] = field(default_factory=dict)
    canary_edits: int = 40
    canary_days: float = 14.0
    kept: int = 8

    def share_of(self, owner: Owner) -> float:
        """The share of this user's conversations that a canary gets."""
        return self.tenant_canary_shares.get(owner.tenant, self.canary_share)


Served = tuple[User, Version | None, Version | None]
"""A user as it was before a change, and what is active and what is tried since."""


def choose(c: Connection, owner: Owner, version: int, *, pinned: bool = False) -> Served:
    """Make ``version`` the active one, 0 for the base model.

    A canary that was tried until then is tried no longer. Raises ``NotFound``, and ``Conflict`` for a version that is
    not ready or while another one is pinned.
    """
    user = versions.lock_user(c, owner)
    chosen = ready(c, owner, version) if version else None
    if user.pinned and user.active_adapter != version:
        raise Conflict(f"Adapter version {user.active_adapter} is pinned: unpin it first.", param="version")
    activate(c, owner, version, pinned=pinned or user.pinned)
    return user, chosen, None


def take_back(c: Connection, before: User, active: int, canary: int) -> None:
    """Undo a change, unless another one was made since."""
    user = users.get(c, before.owner)
    if user is not None and (user.active_adapter, user.canary_adapter) == (active, canary):
        users.set_active_adapter(
            c, before.owner, before.active_adapter, pinned=before.pinned, canary=before.canary_adapter,
            share=before.canary_share,
        )  # fmt: skip


def unpin(c: Connection, owner: Owner, version: int) -> None:
    """Let training and canaries replace the active version again. Raises ``Conflict`` where another one is active."""
    user = versions.lock_user(c, owner)
    if user.active_adapter != version:
        raise Conflict(f"Adapter version {version} is not the active one.", param="version")
    users.set_active_adapter(c, owner, version, canary=user.canary_adapter, share=user.canary_share)


def roll_back(c: Connection, owner: Owner) -> Served:
    """End the canary; without one, go back to the version that was active before, or to the base model.

    Raises ``Conflict`` for a pinned version, and on the base model.
    """
    user = versions.lock_user(c, owner)
    if user.canary_adapter:
        return choose(c, owner, user.active_adapter)
    if not user.active_adapter:
        raise Conflict("The base model serves: there is nothing to go back to.", param="version")
    return choose(c, owner, heir(c, user))


def heir(c: Connection, user: User) -> int:
    """The newest ready version before the active one that has been active itself; 0 for the base model."""
    return max(
        (
            version.version
            for version in versions.all_of(c, user.owner)
            if version.state == "ready" and version.activated_at is not None and version.version < user.active_adapter
        ),
        default=0,
    )


def admit(c: Connection, owner: Owner, version: int, policy: Policy) -> list[int]:
    """Let a version that the gate admitted serve: as a canary where the policy says so; not while another is pinned.

    Gives the versions that are retired to make room for it. The caller holds the user's lock.
    """
    user = versions.lock_user(c, owner)
    share = policy.share_of(owner)
    if share and not user.pinned:
        try_out(c, owner, version, share, policy)
    elif not user.pinned:
        activate(c, owner, version)
    return prune(c, owner, policy)


def try_out(c: Connection, owner: Owner, version: int, share: float, policy: Policy) -> Served:
    """Let a version answer ``share`` of the conversations, in (0, 1], until `canary.py` decides about it.

    It takes the place of another canary. Raises ``NotFound``, and ``Conflict`` for a version that is not ready, that
    serves already, or while one is pinned.
    """
    user = versions.lock_user(c, owner)
    made = ready(c, owner, version)
    if user.pinned:
        raise Conflict(f"Adapter version {user.active_adapter} is pinned: unpin it first.", param="version")
    if version in (user.active_adapter, user.canary_adapter):
        raise Conflict(f"Adapter version {version} serves already.", param="version")
    since = time.time()
    until = since + policy.canary_days * DAY
    tried = {"against": user.active_adapter, "share": share, "since": since, "until": until, "looks": 0}
    versions.set_state(c, owner, version, "ready", report={**made.report, CANARY: tried})
    users.set_active_adapter(c, owner, user.active_adapter, canary=version, share=share)
    jobs.cancel(c, owner, CANARY, str(version))  # of an earlier trial that was ended by hand
    jobs.enqueue(c, owner, CANARY, str(version), run_after=until)
    return user, versions.active(c, owner), made


def retire(c: Connection, owner: Owner, version: int, sentence: str = "retired by hand") -> User:
    """Serve a version never again; its row stays. Remove its directory after the commit.

    Raises ``NotFound``, and ``Conflict`` for a version that is not ready or serves.
    """
    user = versions.lock_user(c, owner)
    made = ready(c, owner, version)
    if version in (user.active_adapter, user.canary_adapter):
        raise Conflict(f"Adapter version {version} serves the user: activate another one first.", param="version")
    versions.set_state(c, owner, version, "retired", learned_from=(), report={**made.report, "retired": sentence})
    return user


def prune(c: Connection, owner: Owner, policy: Policy) -> list[int]:
    """Retire the oldest versions that do not serve, beyond those the policy keeps; which ones."""
    user = versions.lock_user(c, owner)
    held = [version.version for version in versions.all_of(c, owner) if version.state == "ready"]
    idle = [version for version in held if version not in (user.active_adapter, user.canary_adapter)]
    surplus = idle[: max(0, len(held) - policy.kept)]
    for version in surplus:
        retire(c, owner, version, f"retired: {policy.kept} versions of a user are kept")
    return surplus


def activate(c: Connection, owner: Owner, version: int, *, pinned: bool = False) -> None:
    """Point the user at a version, 0 for the base model, and at no canary."""
    users.set_active_adapter(c, owner, version, pinned=pinned)
    if version:
        versions.activated(c, owner, version)


def ready(c: Connection, owner: Owner, version: int) -> Version:
    """A version that can serve. Raises ``NotFound``, ``Conflict``."""
    made = versions.get(c, owner, version)
    if made.state != "ready":
        raise Conflict(f"Adapter version {version} is {made.state}, not ready.", param="version")
    return made
