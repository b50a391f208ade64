"""A small experiment in a real MLflow store: the runs of sweeps as workflows/tune.py leaves them."""

import json
import time

from raysq.tracking import Point, Update

COMMON = {"raysq.task": "demo"}


class Store:
    """Opens runs of a sweep through a tracker; times of points do not matter."""

    def __init__(self, tracker, experiment, folder):
        self.tracker, self.experiment, self.folder = tracker, experiment, folder
        folder.mkdir(exist_ok=True)

    def sweep(self, space, status="FINISHED", **tags):
        tags = {**COMMON, "raysq.level": "sweep", "raysq.sweep": space.name, **tags}
        run_id = self.tracker.create_run(space.name, tags, {})
        self.attach(run_id, "space.json", json.dumps(space.as_data()))
        if status != "RUNNING":
            self.tracker.send(Update(run_id, status=status))
        time.sleep(0.002)  # the newest is known by its start
        return run_id

    def stage(self, sweep_id, name, parents, history, *, identity, result, hypotheses=None):
        """``parents``: identity by role; ``history``: metrics by update."""
        tags = {**COMMON, "raysq.level": "stage", "raysq.stage": name}
        run_id = self.tracker.create_run(name, tags, {}, sweep_id)
        points = [
            Point(metric, value, update, 1000 + update)
            for update, metrics in history.items()
            for metric, value in metrics.items()
        ]
        self.tracker.log_points(run_id, points)
        self.attach(run_id, "result.json", json.dumps({"name": name, **result}))
        record = {"algorithm": name.title(), "identity": identity, "parents": parents}
        self.attach(run_id, "stage.json", json.dumps(record))
        if hypotheses is not None:
            self.attach(run_id, "test.txt", "".join(f"{line}\n" for line in hypotheses), "hypotheses")
        self.tracker.send(Update(run_id, status="FINISHED"))
        return run_id

    def trial(self, sweep_id, arm, seed, final, stages, scores, data, state="finished", values=None, **tags):
        tags = {
            **COMMON,
            "raysq.level": "trial",
            "raysq.arm": arm,
            "raysq.recipe": "erac",
            "raysq.seed": str(seed),
            "raysq.data": data,
            "raysq.final": final,
            **{f"raysq.axis.{name}": value for name, value in (values or {}).items()},
            **{f"raysq.stage.{name}": run_id for name, run_id in stages.items()},
            **tags,
        }
        run_id = self.tracker.create_run(arm, tags, {}, sweep_id)
        self.tracker.log_points(run_id, [Point(name, value, 9, 1) for name, value in scores.items()])
        if state is not None:
            self.tracker.send(Update(run_id, tags={"raysq.state": state}, status="FINISHED"))
        return run_id

    def attach(self, run_id, name, text, folder=None):
        (self.folder / name).write_text(text)
        assert self.tracker.log_artifact(run_id, self.folder / name, folder)
