"""What the constants say of a training: by the formulas, and the times that the simulation takes."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.capacity import formulas
from tests.benchmarks.capacity.constants import Constants, Workload
from tests.benchmarks.capacity.simulation import Cluster, Times, Training

SIMULATED_UPDATES, WARM_UP = 24, 4


@dataclass(frozen=True, slots=True)
class Setting:
    """Processes of a training on one machine."""

    learners: int = 1
    reward_workers: int = 1
    sample_workers: int = 0
    """0: the learner draws."""
    max_staleness: int = 0


@dataclass(frozen=True, slots=True)
class OneMachine:
    """Predictions for ERAC updates of a workload on the machine of the constants."""

    constants: Constants
    workload: Workload
    cores: int

    @property
    def when_full(self) -> float:
        """Slowdown with all cores busy."""
        return self.constants.when_full(self.cores)

    def times(self, learners: int, reward_calls: int, *, remote: bool) -> Times:
        """What everything of such an update takes alone.

        Sums are those measured among processes of this machine, their waiting for cores included.
        """
        constants, workload = self.constants, self.workload
        sentences = workload.sentences / learners
        whole, draw = workload.updates["erac"].at(sentences), workload.draw.at(sentences)
        pairs = round(sentences * workload.pairs["erac"])
        window = 0.0 if remote else workload.window * whole
        ring = constants.ring(learners) if learners > 1 else None
        return Times(
            draw=0.0 if remote else draw,
            window=window,
            rest=max(0.0, whole - draw - window),
            pairs=0 if remote else pairs,
            submit_call=constants.submit.fixed,
            submit_pair=constants.submit.each,
            call=call_seconds(constants, pairs / max(1, reward_calls)),
            service=constants.score.fixed,
            pair=constants.score.each,
            sums=workload.sums["erac"] if ring else 0,
            gradient_bytes=workload.gradient_bytes["erac"],
            bandwidth=ring.bandwidth if ring else float("inf"),
            latency=ring.latency if ring else 0.0,
            weights_bytes=workload.weights_bytes,
            samples_bytes=workload.samples_bytes / learners,
            put=1e-9 / constants.put.median,
            get=1e-9 / constants.get.median,
            remote_draw=draw,
        )

    def predicted(self, setting: Setting) -> float:
        """An update, by the formulas."""
        remote = setting.sample_workers > 0
        pairs = round(self.workload.sentences / setting.learners * self.workload.pairs["erac"])
        calls = 0 if remote else formulas.reward_calls(pairs, setting.reward_workers)
        times = self.times(setting.learners, calls, remote=remote)
        if remote:
            return self._stale(setting, times)
        slower = formulas.slowdown(setting.learners, self.cores, self.when_full)
        submit = calls * times.submit_call + pairs * times.submit_pair
        replies = formulas.reward_seconds(
            pairs,
            setting.reward_workers,
            setting.learners,
            call=times.call,
            service=times.service,
            pair=times.pair,
        )
        wait = max(0.0, replies - times.window * slower)
        compute = (times.draw + times.window + times.rest + submit) * slower
        return compute + wait + self._sums(setting.learners, times)

    def _sums(self, learners: int, times: Times) -> float:
        return formulas.all_reduces_seconds(
            times.gradient_bytes, times.sums, learners, times.bandwidth, times.latency
        )

    def _stale(self, setting: Setting, times: Times) -> float:
        """With remote samples: the cycle, or the cores, whichever is slower."""
        rounds = setting.max_staleness + 1
        put, get = times.weights_bytes * times.put, times.weights_bytes * times.get
        cycle = formulas.stale_cycle_seconds(
            setting.max_staleness,
            setting.sample_workers,
            ready=put + get + times.call,
            draw=times.remote_draw,
            update=times.rest,
        )
        copies = min(setting.sample_workers, rounds) * get
        works = [times.rest + put / rounds, times.remote_draw + copies / rounds]
        return max(cycle / rounds, sum(works) * self.when_full / self.cores)

    def simulated(self, setting: Setting) -> float:
        """An update, by the simulation, all processes on the cores of this machine."""
        remote = setting.sample_workers > 0
        pairs = round(self.workload.sentences / setting.learners * self.workload.pairs["erac"])
        times = self.times(
            setting.learners, formulas.reward_calls(pairs, setting.reward_workers), remote=remote
        )
        cluster = Cluster(
            learners=setting.learners,
            reward_workers=setting.reward_workers,
            sample_workers=setting.sample_workers,
            max_staleness=setting.max_staleness,
            cores=self.cores,
            when_full=self.when_full,
        )
        return Training(times, cluster).run(SIMULATED_UPDATES, WARM_UP).update

    def scoring(self, pairs: int, workers: int) -> float:
        """A batch through reward workers, many batches in flight, one process sending."""
        constants, calls = self.constants, formulas.reward_calls(pairs, workers)
        sender = calls * constants.submit.fixed + pairs * constants.submit.each
        worker = constants.score.at(pairs / calls)
        return formulas.pipelined_seconds([sender, *([worker] * calls)], self.cores, self.when_full)

    def sampling(self, workers: int) -> float:
        """A batch through sample workers, many batches in flight."""
        each = self.workload.draw.at(self.workload.sentences) / workers
        return formulas.pipelined_seconds([each] * workers, self.cores, self.when_full)


def call_seconds(constants: Constants, pairs: float) -> float:
    """A call's way there and back: all of it, less the learner's and the worker's own parts."""
    own = constants.submit.at(pairs) + constants.score.at(pairs)
    return max(0.0, constants.call.at(pairs) - own)
