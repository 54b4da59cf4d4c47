"""Which lens do the photos of a model tell? COLMAP's synthetic scenes seen through known lenses."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest

from pipelines.colmap.adjust import adjust, settle
from pipelines.colmap.lenses import _asked, _neighbourhood, choose_lenses, told_principal_points
from pipelines.colmap.mapping import _lenses_of
from pipelines.colmap.problem import adjuster, noise_of

LENSES = {
    "SIMPLE_RADIAL": [700.0, 508.0, 390.0, -0.1],
    "RADIAL": [700.0, 508.0, 390.0, 0.08, -0.12],
    "OPENCV": [700.0, 700.0, 508.0, 390.0, -0.1, 0.03, 0.002, -0.001],
}


def seen_through(lens, photos=8, noise=0.1, points=400, own=False):
    """A scene with the camera ``lens``, or cameras of each photo's own, its keypoints disturbed; and the same with the
    simplest camera, adjusted."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig = (photos, 1) if own else (1, photos)
    options.num_cameras_per_rig, options.num_points3D = 1, points
    pycolmap.set_random_seed(1)
    true = pycolmap.synthesize_dataset(options)
    for camera in true.cameras.values():
        camera.model, camera.width, camera.height = pycolmap.CameraModelId.__members__[lens], 1024, 768
        camera.params = LENSES[lens]
    for point in true.points3D.values():
        point.xyz = 3 * point.xyz  # the scene fills the photos
    rng = np.random.default_rng(0)
    for number in true.reg_image_ids():
        image, camera = true.image(number), true.cameras[true.image(number).camera_id]
        for index, point in enumerate(image.points2D):
            if point.has_point3D():
                seen = image.cam_from_world() * true.points3D[point.point3D_id].xyz
                point.xy = camera.img_from_cam(seen[None])[0] + rng.normal(scale=noise, size=2)
                if seen[2] < 0.5 or not (0 < point.xy[0] < 1024 and 0 < point.xy[1] < 768):
                    true.delete_observation(number, index)
    model = pycolmap.Reconstruction(true)
    for camera in model.cameras.values():
        camera.model, camera.params = pycolmap.CameraModelId.SIMPLE_RADIAL, [710.0, 512.0, 384.0, 0.0]
    settle(model, fix_intrinsics=False)
    return true, model


def test_tangential_parameters_wait_for_principal_points():
    _, model = seen_through("OPENCV")
    assert choose_lenses(model, tangential=False)
    assert [camera.model_name for camera in model.cameras.values()] == ["RADIAL"]
    settle(model, fix_intrinsics=False)
    assert choose_lenses(model, tangential=True)
    assert [camera.model_name for camera in model.cameras.values()] == ["OPENCV"]


@pytest.mark.parametrize("lens", LENSES)
def test_the_lens_is_the_simplest_that_explains_the_photos(lens):
    true, model = seen_through(lens)
    assert choose_lenses(model, tangential=True) == (lens != "SIMPLE_RADIAL")
    (camera,) = model.cameras.values()
    assert camera.model_name == lens
    settle(model, fix_intrinsics=False)
    np.testing.assert_allclose(camera.params[-4:], true.cameras[camera.camera_id].params[-4:], rtol=0.02, atol=2e-3)


def test_photos_that_are_each_of_another_camera_tell_their_lenses():
    true, model = seen_through("RADIAL", points=2000, own=True)
    assert choose_lenses(model, tangential=False)
    settle(model, fix_intrinsics=False)
    assert told_principal_points(model, noise_of(model)) == set(model.cameras)
    for key, camera in model.cameras.items():
        assert camera.model_name == "RADIAL"
        np.testing.assert_allclose(camera.params[-2:], true.cameras[key].params[-2:], atol=5e-3)
        np.testing.assert_allclose(camera.params[1:3], [508, 390], atol=1)


def seen_from_afar(wrong):
    """Photos of nearly one direction, each with a focal length of its own, disturbed; focal lengths and distances begin
    ``wrong`` times as long, which changes next to nothing in them."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig, options.num_cameras_per_rig, options.num_points3D = 6, 1, 1, 400
    pycolmap.set_random_seed(1)
    model = pycolmap.synthesize_dataset(options)
    rng = np.random.default_rng(0)
    for point in model.points3D.values():
        point.xyz = rng.uniform(-1, 1, 3) * [3, 3, 0.5]
    for number, key in enumerate(model.reg_image_ids()):
        image = model.image(key)
        camera, frame = model.cameras[image.camera_id], model.frames[image.frame_id]
        turn = pycolmap.Rotation3d(np.radians([(-1) ** number, 0, 0])) * pycolmap.Rotation3d(
            np.radians([0, 1.2 * number - 3, 0])
        )
        camera.model, camera.width, camera.height = pycolmap.CameraModelId.SIMPLE_RADIAL, 1024, 768
        for scale in (1, wrong):
            frame.rig_from_world = pycolmap.Rigid3d(turn, [0, 0, 40 * scale])
            camera.params = [6000 * scale, 512, 384, 0]
            for point in image.points2D if scale == 1 else ():
                if point.has_point3D():
                    seen = image.cam_from_world() * model.points3D[point.point3D_id].xyz
                    point.xy = camera.img_from_cam(seen[None])[0] + rng.normal(scale=0.1, size=2)
    return model


def test_focal_lengths_that_trade_with_each_other_are_adjusted_to_the_end():
    model = seen_from_afar(1.03)
    adjust(model, fix_intrinsics=False)
    focal = [camera.mean_focal_length() for camera in model.cameras.values()]
    adjuster(model, noise_of(model), 1e-10).solve()
    np.testing.assert_allclose(focal, [camera.mean_focal_length() for camera in model.cameras.values()], rtol=5e-3)


def test_wide_photos_tell_their_principal_points_beside_long_ones_that_leave_them_open():
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig, options.num_cameras_per_rig, options.num_points3D = 8, 1, 1, 400
    pycolmap.set_random_seed(1)
    model = pycolmap.synthesize_dataset(options)
    rng, wide = np.random.default_rng(0), set()
    for point in model.points3D.values():
        point.xyz = 3 * point.xyz
    for number, key in enumerate(model.reg_image_ids()):
        image = model.image(key)
        camera, frame = model.cameras[image.camera_id], model.frames[image.frame_id]
        far = 1 if number < 4 else 20
        wide |= {image.camera_id} if far == 1 else set()
        pose = frame.rig_from_world
        frame.rig_from_world = pycolmap.Rigid3d(pose.rotation, pose.translation * [1, 1, far])
        camera.model, camera.width, camera.height = pycolmap.CameraModelId.SIMPLE_RADIAL, 1024, 768
        camera.params = [700.0 * far, 524 if number == 0 else 512, 384, 0]
        for index, point in enumerate(image.points2D):
            if point.has_point3D():
                seen = image.cam_from_world() * model.points3D[point.point3D_id].xyz
                point.xy = camera.img_from_cam(seen[None])[0] + rng.normal(scale=0.6, size=2)
                if seen[2] < 0.5 or not (0 < point.xy[0] < 1024 and 0 < point.xy[1] < 768):
                    model.delete_observation(key, index)
        camera.params = [700.0 * far, 512, 384, 0]
    settle(model, fix_intrinsics=False)
    for key, camera in model.cameras.items():
        if key in wide:
            np.testing.assert_allclose(camera.params[:3], [700, 524 if key == min(wide) else 512, 384], atol=1)
        else:
            assert (camera.params[1:3] == [512, 384]).all()


def test_what_photos_do_not_tell_stays_as_simple_as_it_is():
    _, few = seen_through("RADIAL", photos=2)
    _, blurred = seen_through("RADIAL", photos=3, noise=8.0)
    for model in (few, blurred):
        before = {key: camera.params.copy() for key, camera in model.cameras.items()}
        assert not choose_lenses(model, tangential=True) and not told_principal_points(model, noise_of(model))
        for key, camera in model.cameras.items():
            assert camera.model_name == "SIMPLE_RADIAL" and (camera.params == before[key]).all()


def test_of_many_photos_those_are_asked_that_share_most_points():
    _, model = seen_through("RADIAL", photos=46)
    (camera,) = model.cameras
    lonely = model.reg_image_ids()[3]
    for index, point in enumerate(model.images[lonely].points2D):
        if point.has_point3D() and index % 20:
            model.delete_observation(lonely, index)
    asked = _neighbourhood(model, camera)
    assert len(asked) == len(set(asked)) == 40 and lonely not in asked
    assert told_principal_points(model, noise_of(model)) == {camera}


def test_many_cameras_are_asked_together_each_once():
    _, model = seen_through("SIMPLE_RADIAL", photos=46, own=True)
    asked = list(_asked(model, model.cameras))
    assert sorted(key for _, keys in asked for key in keys) == sorted(model.cameras)
    assert len(asked) < 10 and all(len(images) == 40 for images, _ in asked)
    assert told_principal_points(model, noise_of(model)) == set(model.cameras)


def test_a_database_has_the_lenses_of_a_model_while_colmap_goes_on_with_it(tmp_path):
    _, model = seen_through("SIMPLE_RADIAL")
    (camera,) = model.cameras.values()
    with pycolmap.Database.open(tmp_path / "a.db") as database:
        database.write_camera(camera, use_camera_id=True)
    rich = pycolmap.Reconstruction(model)
    rich.cameras[camera.camera_id].model = pycolmap.CameraModelId.RADIAL
    rich.cameras[camera.camera_id].params = [*camera.params, 0.01]

    def stands():
        with pycolmap.Database.open(tmp_path / "a.db") as database:
            return database.read_camera(camera.camera_id)

    for other in (rich, model):
        with _lenses_of(other.cameras.values(), tmp_path / "a.db"):
            assert stands().model == other.cameras[camera.camera_id].model
        assert stands().model_name == "SIMPLE_RADIAL" and (stands().params == camera.params).all()
