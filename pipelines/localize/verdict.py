"""When a pose counts as found. The limits were chosen on sample_data and the scenes of ../shared/data, see judge."""

from __future__ import annotations

from pipelines.localize.result import Origin, QueryPose, Verdict

_LEAST = 12
_ENOUGH = 25
_CELLS = 5 / 64
_MOST_CENTRE = 0.05
_MOST_ROTATION = 0.035


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
