"""The protections of SECURITY.md that no single module holds: what is never called, run, fetched or told."""

import ast
import builtins
import csv
import io
import json
import os
import pickle
import re
import shlex
import shutil
import struct
import tracemalloc
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import dynamic_module_utils

from raysq.cluster import connection
from raysq.config import UserError, flatten
from raysq.credit.page import page as credit_page
from raysq.credit.records import CreditRecord, SentenceCredit, SequenceCredit, TokenCredit, WordCredit
from raysq.data.corpus import read_lines, sha256_of
from raysq.data.prepare import _unescaped
from raysq.data.wit3 import segments, training_sentences
from raysq.images.contact_sheet import Entry, contact_sheet
from raysq.images.encoder import ImageEncoder
from raysq.images.pictures import BadImage, decoded
from raysq.images.store import FeatureStore
from raysq.mlflow_views import comparison_text
from raysq.report.formats import Cell, Column, Table, csv_text, latex, markdown
from raysq.report.page import page as report_page
from raysq.report.section import section_of
from raysq.rewards.settings import RewardSettings
from raysq.tracking import open_client
from raysq.training import checkpoint
from tests.images.made import save_weights
from tests.report.made import results, stage, trial
from tests.test_structure import ROOT, imported, parsed, python_files

NEVER_IMPORTED = {
    *(
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "shelve",
        "marshal",
        "joblib",
    ),  # run what they read
    *("yaml", "xml", "lxml", "zipfile"),
    *("code", "codeop", "runpy", "telnetlib", "ftplib"),
}
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__"),
    *("torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "np.fromfile", "numpy.fromfile"),
    *("os.system", "os.popen", "tempfile.mktemp", "shutil.unpack_archive", "ssl._create_unverified_context"),
    *("tarfile.open", "tarfile.is_tarfile", "urllib.request.urlopen", "input"),
}
ONLY_IN = {
    "exec_module": "workflows/tune.py",  # the user's own tune spaces
    "import_module": "workflows/benchmark.py",  # its own suites
    "Popen": "",
    "extractall": "",
}
"""Methods and functions that one file may call, or none."""
NEVER_GIVEN = {"shell": False, "allow_pickle": False, "trust_remote_code": False, "verify": True}
"""Arguments that have this value or are not given."""


def scanned() -> list[Path]:
    return python_files("raysq", "workflows", "tune_spaces")


def faults(tree: ast.Module, path: str) -> list[str]:
    """What a module calls, imports or says that it must not."""
    found = [name for name in imported(tree) if name.partition(".")[0] in NEVER_IMPORTED]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if "0.0.0.0" in node.value or node.value.startswith("/tmp"):
                found.append(repr(node.value))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {
                k.arg: k.value.value if isinstance(k.value, ast.Constant) else "?" for k in node.keywords
            }
            found += [
                f"{name}={given[name]}"
                for name, value in NEVER_GIVEN.items()
                if given.get(name, value) != value
            ]
            if called in NEVER_CALLED or ONLY_IN.get(called.rpartition(".")[2], path) != path:
                found.append(called)
            if called.endswith("from_pretrained"):
                safe = ("trust_remote_code", False) if "Processor" in called else ("use_safetensors", True)
                found += [] if given.get(safe[0]) is safe[1] else [f"{called} without {safe[0]}={safe[1]}"]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def f():\n    from xml.etree import ElementTree",
        "from yaml import load",
        "x = eval(text)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=sure)",
        "subprocess.run(command, shell=True)",
        "subprocess.Popen(command)",
        "tarfile.open(path)",
        "tar.extractall(folder, filter='data')",
        "spec.loader.exec_module(module)",
        "Model.from_pretrained(folder)",
        "AutoImageProcessor.from_pretrained(folder)",
        "Model.from_pretrained(folder, use_safetensors=True, trust_remote_code=True)",
        "requests.get(url, verify=False)",
        "serve(host='0.0.0.0')",
        "open('/tmp/raysq.lock', 'w')",
    ],
)
def test_the_scan_finds(text):
    assert len(faults(ast.parse(text), "raysq/x.py")) == 1


def test_the_scan_passes_what_is_sound():
    text = "np.load(path)\nModel.from_pretrained(folder, use_safetensors=True)\nimport json\nre.compile('x')"
    assert faults(ast.parse(text), "raysq/x.py") == []
    assert faults(ast.parse("found.loader.exec_module(module)"), "workflows/tune.py") == []


@pytest.mark.parametrize("path", scanned(), ids=str)
def test_nothing_forbidden_is_called(path):
    assert faults(parsed(path), path.as_posix()) == []


# -- nothing is unpickled


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_evil_is_evil(tmp_path):
    pickle.loads(pickle.dumps(Evil(tmp_path / "was run")))
    assert (tmp_path / "was run").exists()


def test_a_pickle_in_place_of_tensors_is_not_run(tmp_path):
    """torch.save writes one, which torch.load of the open file would run; all digests are made to fit."""
    path = checkpoint.save(tmp_path / "checkpoints", 1, {"a": torch.ones(2)}, {"seed": 1})
    torch.save({"a": Evil(tmp_path / "was run")}, path / "tensors.safetensors")
    header = json.loads((path / "state.json").read_text())
    header.pop("sha256")
    header["tensors_sha256"] = sha256_of(path / "tensors.safetensors")
    header["sha256"] = checkpoint._digest(header)
    (path / "state.json").write_text(json.dumps(header))
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.load(path)
    assert not (tmp_path / "was run").exists()


def test_a_pickle_in_place_of_features_is_not_run(small_captions, tmp_path):
    folder = shutil.copytree(small_captions.folder / "features", tmp_path / "features")
    manifest = json.loads((folder / "manifest.json").read_text())
    shard = folder / manifest["shards"][0]["file"]
    np.save(shard, np.array([Evil(tmp_path / "was run")], dtype=object), allow_pickle=True)
    manifest["shards"][0] |= {"bytes": shard.stat().st_size, "sha256": sha256_of(shard)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="not its features"):
        FeatureStore.load(folder)
    assert not (tmp_path / "was run").exists()


def test_code_beside_weights_is_not_run(tmp_path, monkeypatch):
    """transformers asks whether to run it, unless it is told; a user may answer too soon."""
    folder = save_weights(tmp_path / "weights")
    asked = {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}}
    Path(folder, "preprocessor_config.json").write_text(json.dumps(asked))
    Path(folder, "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'was run')!r})\n")
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(UserError):
        ImageEncoder.load(folder)
    assert not (tmp_path / "was run").exists()


def test_pickled_weights_are_not_read(tmp_path):
    folder = Path(save_weights(tmp_path / "weights"))
    (folder / "model.safetensors").unlink()
    torch.save({"a": Evil(tmp_path / "was run")}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"lacks model\.safetensors"):
        ImageEncoder.load(str(folder))
    assert not (tmp_path / "was run").exists()


# -- bombs


def test_a_line_of_gigabytes_is_not_held(tmp_path):
    """200 MB of one line in 200 kB; bounds of archives are in tests/data/test_archive.py."""
    block = zlib.compressobj(wbits=31)
    with (tmp_path / "a.gz").open("wb") as file:
        for _ in range(200):
            file.write(block.compress(b"a" * 10**6))
        file.write(block.flush())
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="line 1 has"):
            list(read_lines(tmp_path / "a.gz"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 2**20


def test_an_image_of_a_billion_pixels_is_not_decoded():
    """A PNG file of 57 bytes says that it is so large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 25_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(BadImage, match=r"1000000000 pixels|40000 x 25000 pixels"):
        decoded(data)


def test_entities_of_xml_stay_as_they_are_written():
    """Neither files nor other entities: nothing is replaced, so nothing grows."""
    lines = [
        '<!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd"><!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        '<seg id="1"> &file; &b; R&amp;D </seg>',
    ]
    assert list(segments("x.xml", lines)) == ["&file; &b; R&amp;D"]
    assert list(training_sentences("train.tags", lines[1:])) == lines[1:]
    assert _unescaped("&file; &b; R&amp;D") == "&file; &b; R&D"


# -- who is let in


def test_a_cluster_of_our_own_listens_to_this_machine_and_reports_to_nobody(monkeypatch):
    given = {}
    monkeypatch.setattr(connection.ray, "init", lambda **options: given.update(options))
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(connection.os, "environ", dict(os.environ))
        connection.start(verbose=True)
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ.get("RAY_AUTH_MODE", "token") == "token"  # as Ray has it unless told otherwise
    assert given["dashboard_host"] == "127.0.0.1"


def test_usage_is_reported_where_the_user_asks_for_it(monkeypatch):
    monkeypatch.setattr(connection.ray, "init", lambda **options: None)
    monkeypatch.setattr(connection.os, "environ", {**os.environ, "RAY_USAGE_STATS_ENABLED": "1"})
    connection.start()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


def test_mlflow_reports_to_nobody(monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    open_client("http://127.0.0.1:5000")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_is_started_for_this_machine_alone(tmp_path):
    """``mlflow ui`` listens to 127.0.0.1 unless --host says otherwise."""
    command = comparison_text(f"sqlite:///{tmp_path}/mlflow.db", "1", ["a"]).splitlines()[0]
    assert shlex.split(command) == ["mlflow", "ui", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]


# -- text stays text

HOSTILE = (
    "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'><a href='javascript:x'>&lt;b>"
)


class Page(HTMLParser):
    """Elements and attributes of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.text, self.policy = set(), [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes += attributes
        if dict(attributes).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attributes)["content"]

    def handle_data(self, data):
        self.text += data


def hostile_report():
    curve = [(10, 1.0, 0, 5.0), (20, 2.0, 0, 9.0)]
    trials = [
        trial(arm, s, 9.0 + s, stages=[stage(HOSTILE, scores=curve)])
        for arm in (HOSTILE, "ERAC")
        for s in (1, 2)
    ]
    found = results(trials, title=HOSTILE, baseline=HOSTILE)
    found.task, found.place, found.notes = HOSTILE, HOSTILE, [HOSTILE]
    return report_page(HOSTILE, HOSTILE, [section_of(found)], [])


def hostile_credit():
    word = WordCredit(HOSTILE, 0.5, 1.0, 0.5)
    token = TokenCredit(word, 0.5, 0.5, 0.1, 0.5, 0.5, 0.1, (word,), (word,))
    sequence = SequenceCredit((HOSTILE,), 0.5, 0.5, None, (token,))
    sentence = SentenceCredit(1, HOSTILE, HOSTILE, 1.0, 0.0, (sequence,))
    settings = {"tau": HOSTILE, "temperature": HOSTILE}
    reward = flatten(RewardSettings()) | {"bleu": HOSTILE}
    return credit_page(
        CreditRecord(HOSTILE, HOSTILE, "critic", settings, reward, 1, HOSTILE, HOSTILE, 1, (sentence,))
    )


def hostile_sheet():
    return contact_sheet(
        HOSTILE, [HOSTILE], {HOSTILE: 1.0}, [Entry(HOSTILE, HOSTILE, HOSTILE, -1.0, (HOSTILE,))]
    )


@pytest.mark.parametrize("made", [hostile_report, hostile_credit, hostile_sheet])
def test_text_of_the_data_stays_text(made):
    page = Page(made())
    assert page.elements & {"script", "iframe", "object", "embed", "base", "form", "a"} <= {"a"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "xlink:href")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert HOSTILE in page.text
    assert "alert(1)" not in re.sub(re.escape(HOSTILE), "", page.text)


@pytest.mark.parametrize("made", [hostile_report, hostile_credit, hostile_sheet])
def test_pages_may_run_and_fetch_nothing(made):
    """Even where a text were not escaped."""
    policy = dict(part.strip().split(" ", 1) for part in Page(made()).policy.split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert set(policy) - {"style-src", "img-src"} == {"default-src", "base-uri", "form-action"}
    assert policy["img-src"] == "data:"


def test_figures_take_dollars_for_dollars():
    """matplotlib would take what stands between two for a formula, and end where it is none."""
    trials = [trial(arm, s, 9.0 + s) for arm in ("costs $x_{ and $", "ERAC") for s in (1, 2)]
    section = section_of(results(trials, baseline="costs $x_{ and $"))
    assert all("<svg" in drawing.svg for drawing in section.drawings)
    assert section.drawings


def test_tables_hold_no_tags_links_formulas_or_commands():
    texts = [
        "<b>",
        "[x](javascript:y)",
        "![x](http://host)",
        "a|b",
        "two\nlines",
        "=1+1",
        "@SUM(1)",
        "-1e3",
        "+x",
    ]
    table = Table(
        "t", texts[0], [Column(texts[1])], [[Cell(text)] for text in texts], [r"\input{/etc/passwd}"]
    )
    written = markdown(table)
    assert not re.search(r"<|(?<!\\)[\[\]]", written)
    assert r"| a\|b |" in written
    assert "| two lines |" in written
    values = [row[0] for row in csv.reader(io.StringIO(csv_text(table)))][1:]
    assert values == [*texts[:5], "'=1+1", "'@SUM(1)", "-1e3", "'+x"]
    assert r"\input" not in latex(table)


# -- the threat model


def test_every_test_that_security_md_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 10
    for file, test in named:
        assert test == "" or re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), (
            file,
            test,
        )
