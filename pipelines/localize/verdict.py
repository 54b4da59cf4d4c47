"""When a pose counts as found.

The limits were chosen on photos whose place is known: 12 of sample_data and of the validation scenes kermit, et and
cyprus, each in a map that lacks them, and 60 photos of other places (``photos/`` of the shared data) in each of these
four maps, all with 2,000 keypoints a photo. The best wrong pose had 6 inliers; the right ones had 26 to 1,160. With
8,192 keypoints a photo, 49 photos of other places in each of the maps of cyprus and sample_data had 7 at most.
"""

from __future__ import annotations

from pipelines.localize.result import Origin, QueryPose, Verdict

_LEAST = 12
"""Inliers below which there is no pose: twice what chance gave."""
_ENOUGH = 25
"""Inliers of a sure pose."""
_CELLS = 5 / 64
"""Share of the photo's cells that they lie in."""
_MOST_CENTRE = 0.05
"""Sigma of a sure pose's centre, as a share of the distance to the points."""
_MOST_ROTATION = 0.035
"""Sigma of its rotation, radians: two degrees."""


def judge(pose: QueryPose | None, matched: int) -> tuple[Verdict, str, str]:
    """Verdict, reason and advice for the best pose of a query.

    Args:
        pose: the best one, None if there was none.
        matched: keypoints of the query that were matched with points of the map.
    """
    another = "check that the map shows this place; a photo from a place and at a time nearer to those of the map"
    if pose is None or pose.inliers < _LEAST:
        agree = f"{pose.inliers if pose else 'fewer than 6'} of {matched} matches with the map agree with one pose"
        return Verdict.NOT_FOUND, agree, another
    told = f"{pose.inliers} of {matched} matches agree"
    if pose.inliers < _ENOUGH:
        return Verdict.UNCERTAIN, f"{told}, and {_ENOUGH} make a pose sure", another
    if pose.coverage < _CELLS:
        return Verdict.UNCERTAIN, f"{told}, but all in a small part of the photo", "a photo that shows more of the map"
    if not (pose.centre_sigma <= _MOST_CENTRE * pose.depth and pose.rotation_sigma <= _MOST_ROTATION):
        help_ = "give the intrinsics with --intrinsics" if pose.origin is Origin.ESTIMATED else another
        return Verdict.UNCERTAIN, f"{told}, but they leave the place open", help_
    return Verdict.FOUND, told, ""
