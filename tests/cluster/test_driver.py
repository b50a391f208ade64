import pickle

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError

from raysq.cluster.driver import EndWhereNoRestartHelps, explained
from raysq.config import Unfinished, UserError
from raysq.training.step import Diverged

CONTINUE = ": repeat the command to continue from the last checkpoint; --verbose shows the learners' log"


@pytest.mark.parametrize(
    "met", [UserError("the disk is full"), Diverged("the loss is nan"), Unfinished("a reward worker died")]
)
def test_what_a_learner_met_ends_the_training_and_is_given_back_whichever_it_was(met: Exception) -> None:
    others = UserExceptionWithTraceback(RuntimeError("gloo: connection closed by peer"), "")
    callback = EndWhereNoRestartHelps()
    callback.after_exception(None, {0: others})  # learners are started again
    with pytest.raises(type(met)) as caught:
        callback.after_exception(None, {0: others, 1: UserExceptionWithTraceback(met, "Traceback")})
    assert caught.value is met
    assert explained(pickle.loads(pickle.dumps(ControllerError(met)))).args == met.args


@pytest.mark.parametrize("death", [ActorDiedError(), OutOfMemoryError("the node ran low on memory")])
def test_a_learner_that_died_is_told_from_one_that_raised(death: RayError) -> None:
    died = WorkerGroupError("", {1: WorkerHealthCheckFailedError("A check failed", death)})
    raised = WorkerGroupError("", {0: UserExceptionWithTraceback(ValueError("no such word\nhere"), "")})
    assert [type(explained(error)) for error in (died, raised)] == [Unfinished, Unfinished]
    assert str(explained(died)) == (
        "the learners were lost 4 times, at last with learner 1 "
        "(its process died, often for want of memory: a higher --gradient-accumulation, or a lower "
        f"--decoding.batch-size or batch size of the stage need less){CONTINUE}"
    )
    assert str(explained(raised)) == (
        f"the learners were lost 4 times, at last with learner 0 (ValueError: no such word){CONTINUE}"
    )


def test_a_failure_of_ray_itself_is_one_line_too() -> None:
    said = str(explained(ControllerError(OSError("no space"))))
    assert said.startswith("training on Ray broke off (ControllerError: ")
    assert said.endswith(CONTINUE)
