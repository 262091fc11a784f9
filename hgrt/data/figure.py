"""How a drawn person looks: build, clothes, skin, face, hair and the light on them, as textures for the renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.body import Body

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """Appearance of one person. Textures are float32 BGR 0..255: rows run down the part, columns once around it."""

    body: Body
    girth: float  # limb thickness, 1 = average
    chest: F64  # (25, 2) torso half width and half depth in metres, neck base to crotch
    torso: F32  # (96, 128, 3)
    arm: F32  # (128, 64, 3), shoulder to wrist
    leg: F32  # (128, 64, 3), hip to ankle
    face: F32  # (109, 192, 3), upper forehead to chin
    skin: F32  # (3,)
    shoe: F32  # (3,)
    hair: F32  # (16, 32, 3)
    hair_style: int  # 0 bald or shaved, 1 short, 2 full, 3 long, 4 knot
    sleeve: float  # covered share of the arm, 0..1
    trouser: float  # covered share of the leg, 0..1
    loose: float  # extra radius of cloth in metres
    skirt: float  # length as a share of the thigh, 0 = none
    gaze: float  # head turned to the person's left against the chest, degrees
    curl: float  # how far the fingers are closed, 0..1
    light: F64  # (3,) unit vector to the light
    ambient: float  # share of light from everywhere, 0..1
    tint: F64  # (3,) BGR gain of the light
    shadow: float  # strength of the cast shadow, 0..1


def noise(rng: np.random.Generator, height: int, width: int, finest: int = 64) -> F32:
    """(H,W) float32 smooth noise of several scales, about -1..1; `finest` is the cell count of the finest scale."""
    out = np.zeros((height, width), np.float32)
    cells, gain = 4, 0.6
    while cells <= finest:
        grid = rng.standard_normal((cells, cells), dtype=np.float32)
        out += np.float32(gain) * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, gain = cells * 2, gain * 0.6
    return out


def colour_of(rng: np.random.Generator, vivid: float = 0.35) -> F32:
    """(3,) BGR float32 colour as clothes and walls have it: mostly greys, blues and browns, vivid now and then."""
    hue = rng.uniform(0, 180) if rng.random() < 0.6 else rng.choice([12.0, 108.0, 115.0])
    saturation = rng.uniform(90, 230) if rng.random() < vivid else rng.uniform(0, 70)
    pixel = np.array([[[hue, saturation, rng.uniform(25, 245)]]]).astype(np.uint8)
    colour: F32 = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)
    return colour


def cloth(rng: np.random.Generator, rows: int, columns: int) -> F32:
    """(rows, columns, 3) float32 BGR fabric: plain, striped, checked or printed, with folds."""
    out = np.empty((rows, columns, 3), np.float32)
    out[:] = colour_of(rng)
    second, period, kind = colour_of(rng), int(rng.integers(6, 24)), rng.random()
    y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    band = rng.uniform(0.2, 0.6) * period
    if kind < 0.15:
        out[np.broadcast_to(y % period < band, (rows, columns))] = second
    elif kind < 0.22:
        out[np.broadcast_to(x % period < band, (rows, columns))] = second
    elif kind < 0.32:
        out += 0.35 * ((y % period < band).astype(np.float32) + (x % period < band))[..., None] * (second - out)
    elif kind < 0.42:
        out[noise(rng, rows, columns) > 0.5] = second
    folds = noise(rng, rows, columns, 32) + 0.5 * noise(rng, columns, rows, 16).T
    soft = cv2.GaussianBlur(out, (0, 0), 0.7)
    return np.clip(soft * (1 + rng.uniform(0.04, 0.17) * folds[..., None]), 0, 255).astype(np.float32)


def _face(rng: np.random.Generator, skin: F32, hair: F32, style: int) -> F32:
    """(109,192,3) float32 BGR head seen unrolled: column 96 is the nose, columns 0 and 191 the nape."""

    def ellipse(x: float, y: float, rx: float, ry: float, colour: F64 | F32 | Sequence[float]) -> None:
        cv2.ellipse(out, (int(x), int(y)), (int(rx), int(ry)), 0, 0, 360, np.asarray(colour).tolist(), -1)

    out = np.empty((128, 192, 3), np.float32)
    out[:] = skin
    mid, eye_y, gap = 96, int(rng.integers(62, 68)), int(rng.integers(14, 18))
    eyes = (mid - gap, mid + gap)
    for x in eyes:
        ellipse(x, eye_y, 10, 7, skin * 0.78)  # eye socket
        ellipse(x, eye_y + 18, 9, 9, skin * np.array([0.8, 0.78, 0.95]))
    ellipse(mid, 86, 6, 4, skin * 0.55)  # shade under the nose
    if rng.random() < 0.25 and style != 3:  # beard
        ellipse(mid, 112, 38, 26, hair * 0.8 + skin * 0.2)
        ellipse(mid, 97, 12, 8, skin)
    out = cv2.GaussianBlur(out, (0, 0), 2.5).astype(np.float32)
    for x in eyes:
        ellipse(x, eye_y, 6, 3, (215, 220, 225))
        ellipse(x, eye_y, 3, 3, (35, 40, 50))
        cv2.ellipse(out, (x, eye_y - 9), (9, 3), 0, 190, 350, (hair * 0.6).tolist(), 2)
    ellipse(mid, 97, 10, float(rng.uniform(2, 4)), skin * np.array([0.6, 0.55, 0.82]))
    cv2.line(out, (mid - 9, 97), (mid + 9, 97), (skin * 0.4).tolist(), 1)
    if rng.random() < 0.25:  # glasses
        for x in eyes:
            cv2.ellipse(out, (x, eye_y + 1), (12, 9), 0, 0, 360, (25, 25, 25), 2)
        cv2.line(out, (0, eye_y - 3), (mid - gap - 12, eye_y - 3), (25, 25, 25), 2)
        cv2.line(out, (mid + gap + 12, eye_y - 3), (191, eye_y - 3), (25, 25, 25), 2)
    if style:
        top = float(rng.uniform(24, 44))
        line = [
            (0, 122),
            (46, 118),
            (52, 74),
            (60, 70),
            (64, top + 12),
            (80, top),
            (112, top + rng.uniform(-4, 8)),
            (128, top + 12),
            (132, 70),
            (140, 74),
            (146, 118),
            (191, 122),
            (191, 0),
            (0, 0),
        ]
        cv2.fillPoly(out, [np.array(line).astype(np.int32)], hair.tolist())
    out = cv2.GaussianBlur(out, (0, 0), 0.8) * (1 + 0.04 * noise(rng, 128, 192)[..., None])
    return np.clip(out[19:], 0, 255).astype(np.float32)  # the rows above lie on the rounded end of the skull


def _build(rng: np.random.Generator, female: bool) -> tuple[Body, float, F64]:
    """Bone lengths, limb girth (1 = average) and the torso's (25,2) half widths and half depths in metres."""
    girth = float(np.clip(rng.normal(1.0, 0.13), 0.78, 1.4))
    bone = np.clip(rng.normal(1, 0.035, 9), 0.92, 1.1)
    bone[[2, 4]] *= (1.05, 0.9) if female else (1.0, 1.02)
    base = Body()
    body = Body(*(float(getattr(base, f) * k) for f, k in zip(Body.__slots__, bone, strict=True)))
    waist, bust = girth**1.2 * (0.88 if female else 1.0), rng.uniform(0.01, 0.04) if female else 0.0
    share = [0, 0.05, 0.085, 0.12, 0.25, 0.4, 0.56, 0.7, 0.82, 0.93, 1]  # of the way from neck base to crotch
    wide = [0.057, 0.1, body.shoulder - 0.036, body.shoulder - 0.012, 0.166, 0.158, 0.147 * waist, 0.15, 0.16, 0.15]
    wide += [0.105]
    deep = [0.052, 0.066, 0.078, 0.088, 0.11 + bust, 0.106 + bust, 0.099 * waist, 0.104, 0.112, 0.112, 0.09]
    grow = 1 + (girth - 1) * np.array([1, 0.5, 0.5, 0.5, 0.7, 1, 1.1, 1, 0.9, 0.8, 0.8])
    even = np.linspace(0, 1, 25)
    return body, girth, np.stack([np.interp(even, share, np.array(v) * grow) for v in (wide, deep)], axis=1)


def _clothes(rng: np.random.Generator, skin: F32, sleeve: float, trouser: float, skirt: float) -> tuple[F32, F32, F32]:
    """Torso (96,128,3), arm and leg (128,64,3) textures in float32 BGR; see Figure for the lengths."""
    shirt, trousers = cloth(rng, 96, 128), cloth(rng, 128, 64)
    torso, arm, leg = shirt.copy(), np.empty((128, 64, 3), np.float32), np.empty((128, 64, 3), np.float32)
    arm[:] = skin
    leg[:] = skin * np.float32(1.0 if rng.random() < 0.8 else 0.3)  # bare legs or tights
    for tex in (arm, leg):
        tex *= 1 + 0.035 * noise(rng, 128, 64)[..., None]
    arm[: int(sleeve * 128)] = cv2.resize(shirt, (64, 128))[: int(sleeve * 128)]
    leg[: int(trouser * 128)] = trousers[: int(trouser * 128)]
    hem, neck = int(rng.integers(66, 84)), int(rng.integers(5, 16))
    torso[hem:] = shirt[hem:] if skirt and rng.random() < 0.5 else cv2.resize(trousers, (128, 96))[hem:]
    torso[hem - 2 : hem] *= 0.6
    cv2.ellipse(torso, (64, 0), (int(rng.integers(12, 24)), neck), 0, 0, 360, skin.tolist(), -1)
    if rng.random() < 0.25:  # an open jacket over another shirt
        torso[neck:hem, 52:76] = cloth(rng, hem - neck, 24)
    elif rng.random() < 0.3:  # a print on the chest
        cv2.rectangle(torso, (50, 24), (78, int(rng.integers(30, 48))), colour_of(rng, 0.7).tolist(), -1)
    return cv2.GaussianBlur(torso, (0, 0), 0.8).astype(np.float32), arm, leg


def random_figure(rng: np.random.Generator) -> Figure:
    """One person of random build, clothes, skin, hair and light."""
    tones = [(172, 192, 226), (152, 178, 218), (140, 170, 215), (105, 140, 190), (75, 105, 155), (50, 72, 112)]
    skin = np.array(tones[rng.integers(6)], np.float32) * np.float32(rng.uniform(0.9, 1.05))
    skin = np.clip(skin + rng.normal(0, 4, 3), 25, 250).astype(np.float32)
    hairs = [(18, 18, 20), (25, 32, 45), (35, 55, 85), (95, 140, 180), (130, 130, 135), (35, 55, 120)]
    hair = np.array(hairs[rng.choice(6, p=[0.3, 0.27, 0.2, 0.1, 0.07, 0.06])], np.float32)
    hair *= np.float32(rng.uniform(0.8, 1.15))
    female = bool(rng.random() < 0.45)
    body, girth, chest = _build(rng, female)
    style = int(rng.choice(5, p=[0.02, 0.1, 0.2, 0.5, 0.18] if female else [0.12, 0.6, 0.22, 0.05, 0.01]))
    sleeve = float(rng.choice([0.0, rng.uniform(0.3, 0.5), 0.98], p=[0.12, 0.45, 0.43]))
    skirt = float(rng.uniform(0.5, 1.3)) if female and rng.random() < 0.25 else 0.0
    trouser = 0.0 if skirt else float(rng.choice([rng.uniform(0.22, 0.48), 0.8, 0.985], p=[0.27, 0.05, 0.68]))
    torso, arm, leg = _clothes(rng, skin, sleeve, trouser, skirt)
    light = np.array([rng.normal(0, 0.6), -abs(rng.normal(0.7, 0.3)), rng.uniform(0.35, 1.0)])
    strands = np.clip(1 + 0.16 * rng.standard_normal((1, 32, 1)) + 0.05 * rng.standard_normal((16, 32, 1)), 0.5, 1.7)
    return Figure(
        body=body,
        girth=girth,
        chest=chest,
        torso=torso,
        arm=arm,
        leg=leg,
        face=_face(rng, skin, hair, style),
        skin=skin,
        shoe=colour_of(rng),
        hair=(strands * hair).astype(np.float32),
        hair_style=style,
        sleeve=sleeve,
        trouser=trouser,
        loose=float(rng.uniform(0.003, 0.02)),
        skirt=skirt,
        gaze=float(np.clip(rng.normal(0, 18), -50, 50)),
        curl=float(rng.uniform(0, 1)),
        light=light / np.linalg.norm(light),
        ambient=float(rng.uniform(0.35, 0.7)),
        tint=1 + rng.normal(0, 0.05, 3) + rng.uniform(-0.12, 0.15),
        shadow=float(rng.uniform(0, 0.5)),
    )
