"""What is in a scene, as labels to train an image encoder on: no pretrained network knows these pictures.

The labels name all that captions speak of: which shapes there are in which colours, sizes, numbers and parts
of the picture, what lies inside or behind another, and the background.
"""

from __future__ import annotations

from raysq.tasks.scenes.scene import Scene

_COLUMNS, _ROWS = ("left", "centre", "right"), ("top", "middle", "bottom")


def scene_labels(scene: Scene) -> list[str]:
    """What holds of a scene, sorted: ``star``, ``red star``, ``small star``, ``2 star``, ``red left`` ..."""
    labels = {f"{scene.tone} background", f"{scene.pattern} background"}
    for spot in scene.spots:
        column, row = spot.ninth
        for group in spot.groups:
            labels |= {
                group.shape,
                f"{group.colour} {group.shape}",
                f"{group.size} {group.shape}",
                f"{len(group.centres)} {group.shape}",
                f"{group.colour} {_COLUMNS[column]}",
                f"{group.colour} {_ROWS[row]}",
            }
        if spot.relation:
            labels.add(f"{spot.groups[0].colour} {spot.relation}")
    return sorted(labels)
