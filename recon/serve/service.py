"""A map and what is asked of it, free of HTTP: photos' bytes to answers, facts for /health, the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from importlib import resources
from importlib.metadata import version
from string import Template
from typing import Any

from pipelines.core.maps import Model
from pipelines.images.cameras import CameraConfig
from pipelines.images.intrinsics import intrinsics_of_numbers
from pipelines.localize.map import LocalMap
from pipelines.localize.matching import QueryMatcher
from pipelines.localize.query import LocalizeConfig, Localizer
from pipelines.localize.result import Localisation
from recon.report import page, scene
from recon.serve.upload import Limits, received

_VIEWER = ("gl.js", "viewer.js", "orbit.js")
"""Of the report's scripts those that the 3D view needs."""


class Service:
    """A map in memory that answers, one photo at a time.

    Args:
        target: the map.
        config: how photos are localised; a request may bring intrinsics of its own.

    Attributes:
        facts: what /health tells of the map.
        page: HTML on which a photo can be dropped.
        version: of recon.
    """

    def __init__(self, target: LocalMap, config: LocalizeConfig) -> None:
        self._target, self._config = target, config
        self._matcher = QueryMatcher(target)
        self.version = version("recon")
        photos = sum(len(part.model.names) for part in target.components)
        points = sum(len(part.model.xyz) for part in target.components)
        self.facts: Mapping[str, Any] = {
            "recon": self.version,
            "map": target.folder.root.resolve().name,
            "descriptor": target.features.descriptor,
            "photos": photos,
            "points": points,
        }
        self._views = {part.folder: scene.ModelView(part.model) for part in target.components}
        self.page = self._page()

    def localize(self, data: bytes, name: str, intrinsics: str, limits: Limits, view: bool) -> dict[str, Any]:
        """The answer for a photo's bytes, as a JSON value; with ``view`` also the camera as the page draws it.

        Raises:
            RefusedError: it is no photo, or too large.
            ConfigError: the intrinsics cannot be read, or do not fit.
        """
        config = self._config
        if intrinsics:
            config = replace(config, cameras=CameraConfig(config.cameras.model, intrinsics_of_numbers(intrinsics)))
        with received(data, name, limits) as photo:
            answer = Localizer(self._target, config, self._matcher).localize(photo)
        plain = answer.as_plain()
        if view:
            plain["view"] = self._drawn(answer)
        return plain

    def _drawn(self, answer: Localisation) -> dict[str, Any] | None:
        if answer.pose is None:
            return None
        pose = answer.pose
        camera = self._views[pose.component].camera(pose.cam_from_world, pose.camera)
        return {"component": list(self._views).index(pose.component), "camera": camera}

    def _page(self) -> str:
        models = [part.model for part in self._target.components]
        limits = scene.shares([len(model.xyz) for model in models], scene.MAX_POINTS)
        data = {
            "components": [scene.pack(model, _numbers(model), n) for model, n in zip(models, limits, strict=True)],
            "names": [list(model.names) for model in models],
        }
        return Template(_asset("serve.html")).substitute(
            title=escape(self.facts["map"]),
            facts=escape(
                f"{self.facts['photos']:,} photos, {self.facts['points']:,} points, {self.facts['descriptor']}"
            ),
            css=page.asset("report.css") + _asset("serve.css"),
            data=page.json_text(data),
            script="\n".join([*map(page.asset, _VIEWER), _asset("serve.js")]),
        )


def _numbers(model: Model) -> dict[str, int]:
    return {name: number for number, name in enumerate(model.names)}


def _asset(name: str) -> str:
    return resources.files("recon.serve").joinpath("assets", name).read_text(encoding="utf-8")
