"""Places on the earth: latitude, longitude and altitude to a flat frame of metres around a place, and back (WGS 84)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# WGS 84 (NIMA TR8350.2): semi-major axis in metres, and first eccentricity squared.
AXIS = 6_378_137.0
ECCENTRICITY2 = 6.694379990141e-3

Place = tuple[float, float, float]
"""Latitude and longitude in degrees, altitude above the ellipsoid in metres."""


def earth_centred(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,3) latitude, longitude (degrees), altitude (m) -> (N,3) earth-centred metres."""
    latitude, longitude = np.radians(places[:, 0]), np.radians(places[:, 1])
    radius = AXIS / np.sqrt(1 - ECCENTRICITY2 * np.sin(latitude) ** 2)
    flat = (radius + places[:, 2]) * np.cos(latitude)
    z = (radius * (1 - ECCENTRICITY2) + places[:, 2]) * np.sin(latitude)
    return np.column_stack([flat * np.cos(longitude), flat * np.sin(longitude), z])


def _axes(origin: Place) -> NDArray[np.float64]:
    """(3,3) rows east, north, up at a place."""
    latitude, longitude = np.radians(origin[0]), np.radians(origin[1])
    sin_b, cos_b, sin_l, cos_l = np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)
    return np.array(
        [[-sin_l, cos_l, 0], [-sin_b * cos_l, -sin_b * sin_l, cos_b], [cos_b * cos_l, cos_b * sin_l, sin_b]]
    )


def to_metres(places: NDArray[np.float64], origin: Place) -> NDArray[np.float64]:
    """(N,3) latitude, longitude, altitude -> (N,3) metres east, north and up of the origin."""
    return (earth_centred(places) - earth_centred(np.array([origin]))) @ _axes(origin).T


def to_places(metres: NDArray[np.float64], origin: Place) -> NDArray[np.float64]:
    """(N,3) metres east, north, up of the origin -> (N,3) latitude, longitude, altitude; to a millimetre on earth."""
    xyz = metres @ _axes(origin) + earth_centred(np.array([origin]))
    flat = np.hypot(xyz[:, 0], xyz[:, 1])
    latitude = np.arctan2(xyz[:, 2], flat * (1 - ECCENTRICITY2))
    altitude = np.zeros(len(xyz))
    for _ in range(6):  # each round gains about five digits at heights that people reach
        radius = AXIS / np.sqrt(1 - ECCENTRICITY2 * np.sin(latitude) ** 2)
        altitude = flat / np.cos(latitude) - radius
        latitude = np.arctan2(xyz[:, 2], flat * (1 - ECCENTRICITY2 * radius / (radius + altitude)))
    return np.column_stack([np.degrees(latitude), np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0])), altitude])
