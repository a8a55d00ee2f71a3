"""A run that is killed anywhere continues where it stopped, and leaves nothing half-made."""

import json
import os
import re
import signal

from tasks.artifact import Artifact, Vault

LONG = [
    "--set", "model.epochs=6", "--set", "model.checkpoint_every=5", "--set", "audits=[]",
    "--set", "variants=[]", "--set", "profile.enabled=false",
    "--set", "policy.prefer.measure=evaluate/bits_per_byte/heldout",
]  # fmt: skip


def whole(cli):
    """Every sealed artifact has its facts and its digest; returns how many there are."""
    vault = Vault(cli.artifacts)
    stored = list((cli.artifacts / "sealed").rglob("artifact.json"))
    for file in stored:
        found = Artifact.model_validate_json(file.read_text())
        vault.verify(found.model_copy(update={"path": str(file.parent / "content")}))
    assert len(stored) == len(list((cli.artifacts / "sealed").glob("*/*")))
    return len(stored)


def checkpoints(cli):
    return sorted((cli.artifacts / "work").glob("train-*/scratch/steps/step-*/state.json"))


def steps_kept(cli):
    """How many steps the last checkpoint holds; a newer one may replace it as we look."""
    try:
        return len(json.loads(checkpoints(cli)[-1].read_text())["losses"])
    except (IndexError, FileNotFoundError):
        return 0


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def trained(cli, before):
    (key,) = set(cli.sealed("train")) - set(before)
    return json.loads((cli.artifacts / "sealed/train" / key / "artifact.json").read_text())


def test_a_killed_training_continues_from_its_checkpoint_to_the_same_weights(
    copied, tiny, wait, tmp_path
):
    before, sealed = copied.sealed("train"), whole(copied)
    process = copied.start("run", tiny, *LONG)
    wait(lambda: steps_kept(copied) >= 50, process, "a checkpoint")
    kill(process)
    assert whole(copied) == sealed
    kept = steps_kept(copied)

    # Stopped again, in the middle of evaluating: by Ctrl-C this time, with everything that
    # a person starts without a server of their own.
    process = type(copied)(copied.home).start("run", tiny, *LONG)
    work = copied.artifacts / "work"
    wait(lambda: list(work.glob("evaluate-*/content")), process, "evaluating")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1] == (
        "assay: interrupted; the next run continues where this one stopped"
    )
    assert "Traceback" not in err
    shown = [int(n) for n in re.findall(r"(\d+)/\d+ \[", err)]
    assert shown
    assert min(shown) > kept  # the bar begins where the first run ended
    continued = trained(copied, before)
    whole(copied)

    said = copied("run", tiny, *LONG, "--json")
    assert said.code == 0, said.err
    assert "train base" not in said.executed()
    assert said.executed()[-1] == "publish base"
    assert copied.versions() == [("tiny", 1)]
    assert not list((copied.artifacts / "work").rglob("content"))

    # The same training without a break, beside it.
    os.replace(copied.artifacts / "sealed/train" / continued["key"][:32], tmp_path / "aside")
    assert copied("train", tiny, *LONG).code == 0
    assert trained(copied, before)["digest"] == continued["digest"]
