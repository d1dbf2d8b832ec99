"""scripts/gpu-check.sh: a dry run on the CPU, and its record when a stage fails or the check is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from anytime_training.tree import Branch, Segment, Tree
from gpu_check.models import TINY, random_model
from gpu_check.record import Record
from gpu_check.stages import STAGES, Stage, run_stages
from gpu_check.step import model_flops

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "scripts" / "gpu_check" / "record.schema.json").read_text())
RESULTS = {
    "attention": {"float32", "bfloat16"},
    "packing": {"thinking_32"},
    "step": {"sample", "learn", "product_flops", "profile"},
    "engine": {"tests"},
    "demo": {"seconds", "steps", "last_step", "evaluations", "whole_recipe"},
}


def read(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text())
    jsonschema.validate(record, SCHEMA)
    return record


@pytest.mark.nightly
def test_a_dry_run_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = [str(ROOT / "scripts" / "gpu-check.sh"), "--tiny", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = read(out)
    assert record["finished"]
    assert {name: stage["status"] for name, stage in record["stages"].items()} == dict.fromkeys(
        RESULTS, "passed"
    )
    assert {name: set(stage["results"]) for name, stage in record["stages"].items()} == RESULTS
    assert {stage.name for stage in STAGES} == set(RESULTS)
    for of_dtype in record["stages"]["attention"]["results"].values():
        assert 0 < of_dtype["flex"]["gradient"] <= of_dtype["allowed"]["gradient"]
    ratio = record["stages"]["packing"]["results"]["thinking_32"]["flat_over_tree"]
    assert ratio["tokens"] == 2.44


def run(path: Path, *names: str, seconds: float) -> tuple[bool, dict[str, Any]]:
    stages = [Stage(name=name, entry=f"tests.gpu_check_stages:{name}", share=0.2) for name in names]
    record = Record(path, options={"minutes": 1, "tiny": True, "stages": list(names)}, commit="none")
    return run_stages(stages, record, seconds=seconds, tiny=True, preloaded=()), read(path)


def test_a_failing_stage_is_recorded_and_the_others_run(tmp_path: Path) -> None:
    passed, record = run(tmp_path / "record.json", "failing", "raising", "crashing", "passing", seconds=60)
    assert not passed
    assert record["finished"]
    stages = record["stages"]
    assert [stages[name]["status"] for name in stages] == ["failed", "failed", "failed", "passed"]
    assert stages["failing"]["error"] == "1.5 is too long"
    assert stages["failing"]["results"] == {"measured": {"seconds": 1.5}}
    assert "ValueError: no such shape" in stages["raising"]["error"]
    assert stages["crashing"]["error"] == "the process ended with exit status 3"
    assert stages["crashing"]["results"] == {"before": True}
    assert stages["passing"]["results"] == {"answer": 42}


@pytest.mark.nightly
def test_a_stage_ends_at_its_time_limit(tmp_path: Path) -> None:
    """The stage after it gets all the time that is left."""
    passed, record = run(tmp_path / "record.json", "endless", "passing", seconds=26)
    assert not passed
    endless, passing = record["stages"]["endless"], record["stages"]["passing"]
    assert endless["status"] == "timed_out"
    assert passing["status"] == "passed"
    assert endless["limit_s"] == 5.2
    assert passing["limit_s"] > 15
    assert not psutil.pid_exists(endless["results"]["pid"])


def test_without_time_a_stage_is_skipped(tmp_path: Path) -> None:
    passed, record = run(tmp_path / "record.json", "passing", seconds=1)
    assert not passed
    assert record["stages"]["passing"]["status"] == "skipped"


def test_a_killed_check_leaves_a_valid_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    program = f"from tests.gpu_check_stages import main; main({str(path)!r})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")])}
    check = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=ROOT)
    while not path.exists() or "group" not in read(path)["stages"].get("endless", {}).get("results", {}):
        assert check.poll() is None
        time.sleep(0.05)
    check.kill()
    check.wait()
    record = read(path)
    assert not record["finished"]
    assert record["stages"]["endless"]["status"] == "running"
    pid = record["stages"]["endless"]["results"]["pid"]
    stage = psutil.Process(pid) if psutil.pid_exists(pid) else None
    if stage is not None:
        stage.wait(10)


def test_the_operations_of_a_step_are_counted() -> None:
    """Five tokens, three of them learned; 3·4/2 + 2·3/2 + 2·2 = 13 pairs that attend."""
    trunk = Segment(ids=[1] * 3, learned=[False, True, True], advantages=[0, 1, 1], sampler_logprobs=[0] * 3)
    answer = Segment(ids=[1] * 2, learned=[False, True], advantages=[0, 1], sampler_logprobs=[0] * 2)
    tree = Tree(trunk=trunk, branches=(Branch(segment=answer, num_visible=2),))
    model = random_model(TINY, attention="sdpa", device="cpu")
    embedding, others = 512 * 32, sum(one.numel() for one in model.parameters()) - 512 * 32
    assert model_flops(model, [tree]) == 6 * others * 5 + 6 * embedding * 3 + 12 * 13 * 32 * 2


def test_check_is_refused_without_a_gpu(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    out = tmp_path / "record.json"
    environment = os.environ | {"PYTHON": sys.executable}
    command = [str(ROOT / "scripts" / "gpu-check.sh"), "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no GPU here" in done.stderr
    assert not out.exists()
