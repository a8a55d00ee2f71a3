"""llama.cpp in this process: one file's network, and batches of tokens through it."""

import ctypes
import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audits.errors import AuditError, MeasureError, SpecError
from tasks.models.gguf_file import INSTALL
from tasks.models.gguf_logits import Logits

TOKENS = 512
"""Tokens of one batch: what they attend to is computed for all and masked, and their logits
are kept together."""
SEQUENCES = 64
"""Sequences that are in the cache at once."""
STATES = 8
"""The same for a network with recurrent states, which may be megabytes each."""
_STEP = 1024
_CACHE_TYPES = {"float32": 0, "bfloat16": 30}
"""`GGML_TYPE_F32` and `GGML_TYPE_BF16`, of which llama-cpp-python names only the first."""
_SEVERE = (3, 4)
_SEEN: deque[str] = deque(maxlen=40)
_KEPT: list[Any] = []
_LISTENERS: list[list[str]] = []


class Network:
    """A file's network with a key-value cache that grows to what is asked of it.

    Args:
        file: a GGUF file that `gguf_file.read` has accepted.
        kv: type of the key-value cache: `float32` or `bfloat16`.
        gpu: whether layers go to the GPU; None where llama.cpp was built for one.
        threads: number of threads; None takes `OMP_NUM_THREADS`, else all cores.

    Raises:
        SpecError: llama.cpp is not installed or cannot load the file; its words are quoted.
    """

    def __init__(
        self,
        file: Path,
        *,
        kv: str = "float32",
        gpu: bool | None = None,
        threads: int | None = None,
    ) -> None:
        self._lib = lib = library()
        self.file, self.kv = file, kv
        self.threads = threads or threads_here()
        can = bool(lib.llama_supports_gpu_offload())
        if gpu and not can:
            raise SpecError(
                f"{file}: llama.cpp was built here without a GPU; ask for the CPU, or build it "
                "with CMAKE_ARGS=-DGGML_CUDA=on"
            )
        self.on_gpu = can if gpu is None else gpu
        with _heard(file):
            self._weights = _Weights(lib, file, gpu=self.on_gpu)
        model = self._weights.pointer
        self.vocab = lib.llama_model_get_vocab(model)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocab))
        self.window = int(lib.llama_model_n_ctx_train(model))
        self.n_parameters = int(lib.llama_model_n_params(model))
        self.recurrent = bool(
            lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model)
        )
        self.sequences = STATES if self.recurrent else SEQUENCES
        self._cells = 0
        self._context: Any = None
        self._batch = _Batch(lib, TOKENS, self.sequences + 1)
        self._require_causal()
        self.reserve(1)

    def reserve(self, cells: int) -> None:
        """Make room for `cells` tokens in the cache, all sequences together, and empty it.

        Raises:
            AuditError: there is not the memory for it.
        """
        if cells > self._cells:
            self._context = None  # the old cache goes before the new one comes
            self._cells = 0
            size = -(-cells // _STEP) * _STEP
            _SEEN.clear()
            try:
                self._context = _Context(self._lib, self._weights, self._params(size))
            except ValueError as error:
                raise AuditError(
                    f"{self.file}: llama.cpp could not make a cache of {size} tokens "
                    f"({_words()}); free memory, or ask for shorter texts"
                ) from error
            self._cells = size
            self._memory = self._lib.llama_get_memory(self._context.pointer)
        self.clear()

    def clear(self) -> None:
        """Forget all sequences."""
        self._lib.llama_memory_clear(self._memory, False)

    def keep(self, sequence: int, tokens: int) -> None:
        """Make the first `tokens` of a sequence sequence 0, and forget all else."""
        lib, memory = self._lib, self._memory
        if sequence:
            lib.llama_memory_seq_rm(memory, 0, -1, -1)
            self.copy(sequence, 0, tokens)
        lib.llama_memory_seq_keep(memory, 0)

    def copy(self, sequence: int, to: int, tokens: int = -1) -> None:
        """Let sequence `to` begin with the first `tokens` of another, or with all of them."""
        self._lib.llama_memory_seq_cp(self._memory, sequence, to, -1, tokens)

    def forget(self, sequence: int) -> None:
        """Remove one sequence."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def feed(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[tuple[int, int]],
        wanted: Sequence[bool] | npt.NDArray[np.bool_],
    ) -> Logits:
        """Feed at most `TOKENS` tokens; logits of shape (wanted ones, vocabulary).

        The logits are llama.cpp's own memory: read them before the next call.

        Args:
            tokens: ids.
            positions: place of each in its sequence, consecutive in every one.
            sequences: each token's sequences, from the first to below the second.
            wanted: whether the output at each token is wanted.

        Raises:
            MeasureError: llama.cpp could not compute the batch.
        """
        n = self._batch.fill(tokens, positions, sequences, wanted)
        _SEEN.clear()
        code = self._lib.llama_decode(self._context.pointer, self._batch.struct)
        if code != 0:
            raise MeasureError(
                f"{self.file}: llama.cpp could not compute {n} tokens (code {code}: {_words()})"
            )
        outputs = int(np.count_nonzero(wanted))
        if not outputs:
            return np.empty((0, self.n_vocab), np.float32)
        pointer = self._lib.llama_get_logits(self._context.pointer)
        return np.ctypeslib.as_array(pointer, (outputs, self.n_vocab))

    def follow(self, tokens: Sequence[int], position: int) -> npt.NDArray[np.float32]:
        """Feed tokens to sequence 0 from `position` on; the logits after the last.

        They are llama.cpp's own memory: read them before the next call.
        """
        logits: Logits = np.empty((0, self.n_vocab), np.float32)
        for start in range(0, len(tokens), TOKENS):
            part = tokens[start : start + TOKENS]
            at = position + start
            wanted = [start + i == len(tokens) - 1 for i in range(len(part))]
            logits = self.feed(part, range(at, at + len(part)), [(0, 1)] * len(part), wanted)
        last: npt.NDArray[np.float32] = logits[0]
        return last

    def _params(self, cells: int) -> Any:  # noqa: ANN401 - an untyped structure
        lib = self._lib
        params = lib.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = TOKENS
        params.n_seq_max = self.sequences + 1
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = _CACHE_TYPES[self.kv]
        # flash attention rounds to 16 bits whatever the cache: 5e-3 nats where this gives 2e-5
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.kv_unified = True  # sequences share the cells of what they share
        params.swa_full = True  # or a window's past is lost to the next branch
        params.no_perf = True
        return params

    def _require_causal(self) -> None:
        lib, model = self._lib, self._weights.pointer
        if lib.llama_model_has_encoder(model) or lib.llama_model_is_diffusion(model):
            raise SpecError(
                f"{self.file}: is no causal language model (it has an encoder, or fills in "
                "masks); give a decoder"
            )


class _Weights:
    """llama.cpp's model, freed when nothing points to it any more."""

    def __init__(self, lib: Any, file: Path, *, gpu: bool) -> None:  # noqa: ANN401
        params = lib.llama_model_default_params()
        params.n_gpu_layers = -1 if gpu else 0
        # llama.cpp's products of quantized weights on AMX end the process at the second token
        # of a batch (github.com/ggml-org/llama.cpp/issues/20824); AVX-512 gets them right
        params.use_extra_bufts &= b"AMX_INT8 = 1" not in lib.llama_print_system_info()
        self.pointer = lib.llama_model_load_from_file(str(file).encode(), params)
        if self.pointer is None:
            raise ValueError("no model")
        weakref.finalize(self, lib.llama_model_free, self.pointer)


class _Context:
    """llama.cpp's context: the cache and the buffers of a computation."""

    def __init__(self, lib: Any, weights: _Weights, params: Any) -> None:  # noqa: ANN401
        self.pointer = lib.llama_init_from_model(weights.pointer, params)
        if self.pointer is None:
            raise ValueError("no context")
        self._weights = weights  # which must live longer
        weakref.finalize(self, lib.llama_free, self.pointer)


class _Batch:
    """llama.cpp's arrays for one batch, written through numpy."""

    def __init__(self, lib: Any, tokens: int, sequences: int) -> None:  # noqa: ANN401
        self.struct = lib.llama_batch_init(tokens, 0, sequences)
        weakref.finalize(self, lib.llama_batch_free, self.struct)
        view = np.ctypeslib.as_array
        self._tokens = view(self.struct.token, (tokens,))
        self._positions = view(self.struct.pos, (tokens,))
        self._counts = view(self.struct.n_seq_id, (tokens,))
        self._wanted = view(self.struct.logits, (tokens,))
        self._sequences = [view(self.struct.seq_id[i], (sequences,)) for i in range(tokens)]
        self._ids = np.arange(sequences, dtype=np.int32)

    def fill(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[tuple[int, int]],
        wanted: Sequence[bool] | npt.NDArray[np.bool_],
    ) -> int:
        n = len(tokens)
        self.struct.n_tokens = n
        self._tokens[:n], self._positions[:n], self._wanted[:n] = tokens, positions, wanted
        for i, (first, end) in enumerate(sequences):
            self._counts[i] = end - first
            self._sequences[i][: end - first] = self._ids[first:end]
        return n


def library() -> Any:  # noqa: ANN401 - ctypes bindings
    """llama-cpp-python, with its C library hushed.

    Raises:
        SpecError: it is not installed.
    """
    try:
        import llama_cpp
    except ImportError as error:
        raise SpecError(
            f"GGUF files need llama-cpp-python, which is not installed; `{INSTALL}`"
        ) from error
    if not _KEPT:
        _KEPT.append(llama_cpp.llama_log_callback(_listen))
    llama_cpp.llama_log_set(_KEPT[0], ctypes.c_void_p(0))
    return llama_cpp


@contextmanager
def listening() -> Iterator[list[str]]:
    """While open, collect all that llama.cpp warns of, in the pieces it says it in."""
    heard: list[str] = []
    _LISTENERS.append(heard)
    try:
        yield heard
    finally:
        _LISTENERS.remove(heard)


def _listen(level: int, text: bytes, _data: object) -> None:
    if level in _SEVERE:
        said = text.decode("utf-8", "replace")
        _SEEN.append(said.strip())
        for heard in _LISTENERS:
            heard.append(said)


@contextmanager
def _heard(file: Path) -> Iterator[None]:
    """Turn a refusal of llama.cpp into one sentence with its own first words."""
    _SEEN.clear()
    try:
        yield
    except ValueError as error:
        raise SpecError(
            f"{file}: llama.cpp cannot load it ({_words()}); convert the model again with a "
            "current converter"
        ) from error


def _words() -> str:
    return (_SEEN[0] if _SEEN else "no reason given")[:200]


def threads_here() -> int:
    """Number of threads: `OMP_NUM_THREADS`, else all cores that this process may use."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() and int(named) else len(os.sched_getaffinity(0))
