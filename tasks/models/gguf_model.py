"""A GGUF file behind the seam that audits and benchmarks ask through."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from audits.errors import AuditError, MeasureError
from audits.model import Score, require_generation
from tasks.models.encode import Encoder, Pair, beyond
from tasks.models.folder import weights_digest
from tasks.models.gguf_file import Header, read, runner_version
from tasks.models.gguf_generate import Sampling, continue_prompts
from tasks.models.gguf_logits import Answers, Logits, normalizer
from tasks.models.gguf_plan import Chunk, Plan
from tasks.models.gguf_runtime import TOKENS, Network
from tasks.models.gguf_vocabulary import Vocabulary
from tasks.models.luck import named_lots
from tasks.models.predictions import Prediction, cut
from tasks.models.rows import truncate
from tasks.models.selfcheck import Reservoir
from tasks.models.windows import total, windows


class GgufModel:
    """Scores and continues text with llama.cpp, in this process.

    With a cache of 32-bit floats, the default, a file of 32-bit floats gives the numbers of
    transformers to 1e-3 nats. Arguments as `load` has them.
    """

    def __init__(
        self,
        header: Header,
        network: Network,
        *,
        digest: str,
        add_bos: bool | None = None,
    ) -> None:
        self.header, self.network, self.digest = header, network, digest
        self.tokenizer = Vocabulary(network, header)
        self.encoder = Encoder(self.tokenizer, add_bos=add_bos)
        self.max_length = network.window
        self._sample = Reservoir()

    @property
    def n_parameters(self) -> int:
        """Number of weights, tied ones once."""
        return self.network.n_parameters

    @property
    def bos_policy(self) -> str:
        """What stands before empty and other contexts; part of every basis."""
        return self.encoder.bos_policy

    @property
    def conditions(self) -> dict[str, str | int | float | bool]:
        """What the numbers were computed with."""
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.header.types.items())
        return {
            "backend": "llama.cpp",
            "llama_cpp_python": runner_version(),
            "dtype": self.header.file_type,
            "weights": shares,
            "kv_dtype": self.network.kv,
            "device": "gpu" if self.network.on_gpu else "cpu",
            "threads": self.network.threads,
            "n_ctx": self.max_length,
            "pretokenizer": self.header.pretokenizer,
            "bos_policy": self.bos_policy,
        }

    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        """Score each (context, continuation) pair; see `LanguageModel.score`.

        A context that does not fit loses tokens on its left, as in lm-eval.

        Raises:
            AuditError: a continuation is empty or longer than the model's window.
            MeasureError: the network gave something that is not finite.
        """
        pairs = self.encoder.pairs(requests)
        names = [c[-40:] + "|" + t[:40] for c, t in requests]
        return self._score(pairs, names, per_token=per_token, moments=moments)

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """Tokens that each prompt loses in `generate`; see `LanguageModel.truncated`."""
        return beyond(self.encoder, prompts, self.max_length - max_new_tokens)

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Score whole texts of any length given BOS (or EOS), window after window.

        Windows do not overlap, and each but the first sees the one token before it
        (lm-eval's `loglikelihood_rolling`). An empty text has log-probability 0.

        Args:
            texts: what to score.
            add_special: score also the BOS that the file says to add, as lm-eval does.
        """
        windowed = self._windows(texts, add_special=add_special)
        pairs = [pair for parts in windowed for pair in parts]
        names = [t[:60] for t, parts in zip(texts, windowed, strict=True) for _ in parts]
        scores = iter(self._score(pairs, names))
        return [
            total([next(scores) for _ in parts], len(text.encode()))
            for text, parts in zip(texts, windowed, strict=True)
        ]

    def predictions(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """The log-probabilities of the whole vocabulary at every token of each text.

        See `Predicts.predictions`; a text is given BOS (or EOS), as in `score_text`.
        """
        for number, text in enumerate(texts):
            [ids] = self.encoder.plain([text])
            for context, tokens in cut(ids, self.encoder.prefix, self.max_length):
                plan = Plan([context + tokens[:-1]], [len(tokens)], shared=False)
                asked = np.zeros(plan.n_nodes, np.bool_)
                asked[plan.nodes[0]] = True
                rows = np.concatenate(
                    [
                        [row - normalizer(row) for row in logits]
                        for _, logits in self._run(plan, asked)
                        if len(logits)
                    ]
                )
                _require_finite(rows, text[:60])
                yield Prediction(number, np.asarray(tokens, np.int64), rows)

    def recheck(self) -> float | None:
        """Largest difference of a sample scored since the last call, each now alone.

        Nats; None where nothing was scored.
        """
        sample = list(self._sample.items)
        alone = [self._answer([pair], moments=False).logprobs.sum() for pair, _ in sample]
        self._sample.clear()
        found = [abs(a - before) for a, (_, before) in zip(alone, sample, strict=True)]
        return float(max(found)) if found else None

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 0.0,
        n: int = 1,
        stop: Sequence[str] = (),
        lots: Sequence[str] = (),
    ) -> list[list[str]]:
        """Continue each prompt `n` times; see `LanguageModel.generate`.

        Generation ends at the file's end tokens, before a stop string, or after
        `max_new_tokens`. A prompt that leaves no room loses tokens on its left.
        """
        require_generation(
            prompts, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature, n=n,
            stop=stop,
        )  # fmt: skip
        if max_new_tokens >= self.max_length:
            raise AuditError(
                f"cannot generate {max_new_tokens} tokens with a model of {self.max_length} "
                "positions; ask for fewer"
            )
        room = self.max_length - max_new_tokens
        ids = [tokens[-room:] for tokens in self.encoder.contexts(prompts)]
        how = Sampling(max_new_tokens, seed, temperature, n, tuple(stop))
        named = named_lots(lots, prompts)
        return continue_prompts(self.network, self.tokenizer, named, ids, how)

    def _windows(self, texts: Sequence[str], *, add_special: bool) -> list[list[Pair]]:
        encoder = self.encoder
        lead = [encoder.prefix] if add_special and encoder.adds_bos else []
        found = []
        for text, ids in zip(texts, encoder.plain(texts), strict=True):
            whole = ids if text.startswith(encoder.prefix_text) else lead + ids
            pieces = windows(whole, encoder.prefix, self.max_length)
            found.append([Pair(context, part, 0, True) for context, part in pieces])
        return found

    def _score(
        self,
        pairs: Sequence[Pair],
        names: Sequence[str],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        for pair, name in zip(pairs, names, strict=True):
            if len(pair.continuation) > self.max_length:
                raise AuditError(
                    f"{name!r}: {len(pair.continuation)} tokens to score exceed the model's "
                    f"{self.max_length} positions; shorten the text or score it in windows"
                )
        fed = [truncate(pair, self.max_length) for pair in pairs]
        answers = self._answer(fed, moments=moments)
        scores, start = [], 0
        spread = answers.moments.tolist()
        for pair, kept, name in zip(pairs, fed, names, strict=True):
            mine = slice(start, start := start + len(pair.continuation))
            values = answers.logprobs[mine]
            _require_finite(values, name)
            scores.append(
                Score(
                    logprob=float(values.sum()),
                    n_tokens=len(values),
                    n_bytes=pair.n_bytes,
                    greedy=bool(answers.greedy[mine].all()),
                    boundary_stable=pair.stable,
                    truncated=len(pair.context) - len(kept.context),
                    tokens=tuple(values.tolist()) if per_token else (),
                    moments=tuple(map(tuple, spread[mine])) if moments else (),
                    ids=tuple(pair.continuation) if per_token else (),
                )
            )
        self._sample.offer(fed, [score.logprob for score in scores])
        return scores

    def _answer(self, pairs: Sequence[Pair], *, moments: bool) -> Answers:
        """What the network says of every token of every continuation, in order."""
        wanted = [len(pair.continuation) for pair in pairs]
        plan = Plan([_fed(pair) for pair in pairs], wanted, shared=not self.network.recurrent)
        at = np.asarray([node for nodes in plan.nodes for node in nodes], np.int64)
        tokens = np.asarray([t for pair in pairs for t in pair.continuation], np.int64)
        asked = np.zeros(plan.n_nodes, np.bool_)
        asked[at] = True
        order = np.argsort(at, kind="stable")
        found = Answers.blank(len(at), moments=moments)
        for chunk, logits in self._run(plan, asked):
            low, high = np.searchsorted(at[order], [chunk.node, chunk.node + len(chunk.tokens)])
            mine = order[low:high]
            row = np.cumsum(asked[chunk.node : chunk.node + len(chunk.tokens)]) - 1
            found.fill(logits, row[at[mine] - chunk.node], tokens[mine], mine)
        return found

    def _run(self, plan: Plan, asked: npt.NDArray[np.bool_]) -> Iterator[tuple[Chunk, Logits]]:
        """Feed a plan chunk by chunk; the logits at its asked tokens, in order."""
        network = self.network
        network.reserve(plan.longest + TOKENS)
        last = 0
        with tqdm(
            total=plan.n_nodes, desc="scoring", unit="token", delay=3, leave=False
        ) as bar:
            for chunk in plan.chunks(TOKENS, network.sequences):
                if chunk.kept:
                    network.keep(last, chunk.kept)
                else:
                    network.clear()
                for branch, join in enumerate(chunk.joins, start=1):
                    if join:
                        network.copy(0, branch, join)
                n = len(chunk.tokens)
                logits = network.feed(
                    chunk.tokens, chunk.positions, chunk.branches(first=1),
                    asked[chunk.node : chunk.node + n],
                )  # fmt: skip
                yield chunk, logits
                last = len(chunk.joins)
                bar.update(n)


def load_gguf(
    file: Path,
    *,
    dtype: str = "float32",
    device: str | None = None,
    add_bos: bool | None = None,
    threads: int | None = None,
) -> GgufModel:
    """Load a GGUF file for scoring and generation.

    Args:
        file: the file.
        dtype: type of the key-value cache, `float32` or `bfloat16`; weights keep theirs.
        device: `cpu` or `cuda`; None takes the GPU where llama.cpp was built for one.
        add_bos: whether contexts begin with BOS; None leaves it to the file.
        threads: number of threads; None takes `OMP_NUM_THREADS`, else all cores.

    Raises:
        SpecError: it is no GGUF file, or none that llama.cpp can load.
    """
    header = read(file)
    gpu = None if device is None else device != "cpu"
    network = Network(file, kv=dtype, gpu=gpu, threads=threads)
    return GgufModel(header, network, digest=weights_digest(file), add_bos=add_bos)


def _fed(pair: Pair) -> tuple[int, ...]:
    """Tokens that the network must see: the last one is only asked for."""
    return pair.context + pair.continuation[:-1]


def _require_finite(values: npt.NDArray[np.floating], name: str) -> None:
    if not np.isfinite(values).all():
        raise MeasureError(
            f"{name!r}: the model gave a log-probability that is not finite; its weights are "
            "damaged or its arithmetic overflowed"
        )
