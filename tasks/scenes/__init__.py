"""Traffic scenes drawn from a seed, with the ground truth of all four tasks from the same renderer.

Scene i depends on the seed and i alone: scenes can be drawn in any order on any number of processes, and more of them change
none of the earlier ones.
"""

from tasks.scenes.render import CLASSES, SEMANTIC, Scene, SceneObject, draw_scene

__all__ = ["CLASSES", "SEMANTIC", "Scene", "SceneObject", "draw_scene"]
