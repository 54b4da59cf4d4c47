"""What the OpenAPI description says of a request and its answers."""

from __future__ import annotations

from typing import Any

_NUMBER = {"type": "number"}
_POSE: dict[str, Any] = {
    "type": "object",
    "nullable": True,
    "description": "Null exactly if the verdict is `not found`.",
    "properties": {
        "cam_from_world": {
            "type": "object",
            "properties": {
                "quaternion_wxyz": {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4},
                "translation": {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3},
                "matrix": {"type": "array", "items": {"type": "array", "items": _NUMBER}},
            },
        },
        "centre": {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3},
        "unit": {"type": "string", "enum": ["metres", "map units"]},
        "intrinsics": {"type": "object"},
        "inliers": {"type": "integer"},
        "inlier_ratio": _NUMBER,
        "coverage": _NUMBER,
        "sigma_centre": {**_NUMBER, "nullable": True, "description": "One sigma in the unit above."},
        "sigma_rotation_deg": {**_NUMBER, "nullable": True},
    },
}
_ANSWER = {
    "type": "object",
    "required": ["query", "verdict", "reason", "pose"],
    "properties": {
        "query": {"type": "string"},
        "verdict": {"type": "string", "enum": ["found", "uncertain", "not found"]},
        "reason": {"type": "string"},
        "try": {"type": "string"},
        "pose": _POSE,
        "matched_with": {"type": "array", "items": {"type": "object"}},
        "seconds": {"type": "object"},
    },
}
_PROBLEM = {"type": "object", "properties": {"error": {"type": "string"}, "try": {"type": "string"}}}
_BYTES = {"schema": {"type": "string", "format": "binary"}}

OPERATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The photo's bytes: JPEG, PNG, WebP or TIFF.",
        "content": {kind: _BYTES for kind in ("image/jpeg", "image/png", "image/webp", "image/tiff")},
    },
}

ERRORS: dict[int | str, dict[str, Any]] = {
    200: {"description": "What was found.", "content": {"application/json": {"schema": _ANSWER}}},
    **{
        status: {"description": text, "content": {"application/json": {"schema": _PROBLEM}}}
        for status, text in {
            401: "The token is missing or wrong.",
            408: "The photo did not arrive in time.",
            413: "Too many bytes or pixels.",
            415: "The body is not said to be a photo.",
            422: "No photo, or a damaged one, or intrinsics that do not fit it.",
            503: "The queue is full; Retry-After says when to come back.",
            504: "There was no answer in time.",
        }.items()
    },
}
