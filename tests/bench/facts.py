"""How long does the whole audit of a closed world take on a model of the quickstart's size?"""

import json
import time

import torch

from audits.audit import Tools
from audits.closed_world import ClosedWorld
from audits.evidence import Part
from tasks.data.probes import fact_rows
from tasks.data.render import training
from tasks.data.settings import WorldData
from tasks.data.world import make_truth
from tasks.models.memory import remembering
from tasks.models.torch_model import TorchModel
from tasks.train.loop import new_model
from tasks.train.settings import TrainSettings
from tasks.train.tokenizer import train_tokenizer


def facts(strangers: int = 552) -> dict[str, object]:
    """Seconds to score and to estimate, over a world of 1,000 entities asked about.

    The model has random weights, which cost what trained ones do; a threshold is given, as
    one that never learned gives none.
    """
    data, settings = WorldData(strangers=strangers), TrainSettings()
    world = make_truth(data)
    sentences = training(data, world)
    tokenizer = train_tokenizer([s.text for s in sentences], settings.tokenizer)
    hf = new_model(settings, tokenizer).eval()
    model = remembering(TorchModel(hf, tokenizer, digest="bench"))
    audit = ClosedWorld(threshold=0.5)
    examples = audit.examples(list(fact_rows(data, world, sentences)))
    began = time.perf_counter()
    records = audit.run(model, examples, Tools(), seed=0)
    scored = time.perf_counter()
    expected = tuple(e.id for e in examples)
    part = Part("facts", audit.kind, audit.declares(), expected, records, "bench")
    measures, _ = part.measures()
    return {
        "threads": torch.get_num_threads(),
        "entities": len({e.cluster for e in examples}),
        "questions": len(examples),
        "requests": model.counts,
        "scoring_s": round(scored - began, 1),
        "estimating_s": round(time.perf_counter() - scored, 1),
        "measures": len(measures),
    }


if __name__ == "__main__":
    print(json.dumps(facts(), indent=1))
