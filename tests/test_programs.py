"""What is written can be read by those it is for: torch.export.load and onnxruntime."""

import zipfile
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.config import UserError
from raysq.models import EncoderDecoder
from raysq.models.portable import portable
from raysq.programs import NEXT, ONNX_USE, TORCH_USE, require_onnx, use, write_onnx, write_torch
from raysq.types import BOS, EOS
from tests.models.test_portable import SOURCES, image_policy, text_policy

POLICIES: dict[str, tuple[EncoderDecoder, list[Tensor]]] = {
    "dot": (text_policy("dot", False), list(SOURCES.values())),
    "additive, input feeding": (text_policy("additive", True), list(SOURCES.values())),
    "images": (image_policy(), [torch.randn(rows, 4) for rows in (1, 3, 8)]),
}


@pytest.fixture(scope="module", params=POLICIES)
def written(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[Tensor]]:
    """A folder with both formats, what they are of, and sources."""
    policy, sources = POLICIES[request.param]
    folder = tmp_path_factory.mktemp("programs")
    write_torch(policy, folder)
    write_onnx(policy, folder)
    return folder, portable(policy), sources


def close(one: Tensor, other: Tensor) -> None:
    assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_torch_reads_what_torch_wrote(written: Any) -> None:
    folder, form, sources = written
    programs = {name: torch.export.load(folder / f"{name}.pt2").module() for name in ("encoder", "step")}
    for source in sources:
        memory = form.encoder(source)
        token = torch.arange(len(source)) % 5 + EOS
        for mine, expected in zip(programs["encoder"](source), memory, strict=True):
            close(mine, expected)
        for mine, expected in zip(programs["step"](token, *memory), form.step(token, *memory), strict=True):
            close(mine, expected)


def test_onnxruntime_reads_what_torch_wrote(written: Any) -> None:
    """By name: two steps, the second from the state after the first."""
    folder, form, sources = written
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    encoder, step = (
        onnxruntime.InferenceSession(folder / f"{name}.onnx", options) for name in ("encoder", "step")
    )
    assert [output.name for output in encoder.get_outputs()] == list(form.memory)
    assert [given.name for given in step.get_inputs()] == ["token", *form.memory]
    assert [output.name for output in step.get_outputs()] == ["log_probs", *(NEXT + s for s in form.state)]
    for source in sources:
        found = encoder.run(None, {"source": source.numpy()})
        memory = form.encoder(source)
        for array, expected in zip(found, memory, strict=True):
            close(torch.from_numpy(array), expected)
        for token in (torch.full((len(source),), BOS), torch.arange(len(source)) % 5 + EOS):
            given = dict(zip(["token", *form.memory], [token.numpy(), *found], strict=True))
            log_probs, *state = step.run(None, given)
            expected_probs, *expected_state = form.step(token, *memory)
            close(torch.from_numpy(log_probs), expected_probs)
            for array, expected in zip(state, expected_state, strict=True):
                close(torch.from_numpy(array), expected)
            found = [*found[: len(found) - len(state)], *state]
            memory = (*memory[: len(memory) - len(state)], *expected_state)


def test_nothing_is_pickled_and_no_path_of_this_machine_told(written: Any) -> None:
    folder, _, _ = written
    here = {str(Path(place)).encode() for place in (Path(__file__).parents[1], Path(torch.__file__).parent)}
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["encoder.onnx", "encoder.pt2", "step.onnx", "step.pt2"]
    for file in files:
        contents = [file.read_bytes()]
        if file.suffix == ".pt2":
            with zipfile.ZipFile(file) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
        for content in contents:
            assert not content.startswith((b"\x80\x02", b"PK")), (
                file
            )  # a pickle, or torch.save's archive of one
            assert not any(path in content for path in here), file


def test_the_programs_in_the_readme_are_for_text_or_for_features() -> None:
    for template in (TORCH_USE, ONNX_USE):
        text, features = (use(template, of_images=of_images) for of_images in (False, True))
        assert "source_words" in text
        assert "source_words" not in features
        for program in (text, features):
            compile(program, "README.md", "exec")
            assert "READ" not in program
            assert "TYPE" not in program
    assert "np.float32" in use(ONNX_USE, of_images=True)


def test_what_onnx_needs_is_named_where_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    require_onnx()
    monkeypatch.setattr("raysq.programs.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(UserError, match=r"--format onnx needs onnxscript: .*pip install 'raysq\[onnx\]'"):
        require_onnx()
