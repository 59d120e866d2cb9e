"""What a render for readers outside is refused, in both engines (`analysis.profiles`).

A profile changes what is shown, and never the review. The public one shows the published form of a
share-safe review, without the blocks that name single rows; of any other review it shows nothing, so that
no wrong profile can disclose what the policy did not clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.errors import RenderError
from analysis.policy import Policy
from analysis.profiles import PUBLIC, is_share_safe


def check(names: Sequence[str], body: Mapping[str, Any]) -> None:
    """Raises RenderError where the review is not for this audience."""
    if PUBLIC in names and not is_share_safe(body):
        raise RenderError(
            "profile public: the review is not share-safe, and nothing of it is shown; set "
            "publish: {share_safe: true} in the policy, and render again"
        )


def check_policy(names: Sequence[str], policy: Policy) -> None:
    """The same before anything is computed."""
    check(names, {"publication": policy.publish.share_safe or None})
