"""Train a student towards its teachers' predictions, and let what was pruned stay pruned."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from audits.errors import SpecError
from tasks.compress.adapter import Adapter
from tasks.compress.generated import Generation
from tasks.compress.losses import Mean
from tasks.compress.teacher import Teacher
from tasks.compress.training import Rows, Trained, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.walk import Batch

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Distill(Trained):
    """Minimize (1 - alpha) · task loss + alpha · divergence from the teachers.

    The loss of Hinton et al. (arXiv:1503.02531), section 2, with BabyLlama's defaults
    (arXiv:2308.02019). Which text the teachers are heard on, and which way the divergence
    goes, are two choices; together they name the published methods:

    * `forward_kl` on `calibration` text: Hinton.
    * `reverse_kl` on `calibration` text: token-level, GKD (arXiv:2306.13649) with λ = 0.
    * `reverse_kl` on text the `student` writes at each step: GKD with λ = 1, and MiniLLM's
      (arXiv:2306.08543) single-step gradient without its policy gradient.
    * text the `teacher` writes and alpha 0: sequence-level, Kim & Rush (arXiv:1606.07947);
      with `generation: {temperature: 0, beams: 5}` as they do. A larger alpha adds their
      word-level loss.

    `hidden` and `attention` add TinyBERT's losses (arXiv:1909.10351). The student is the
    model so far, and its teacher the one that the chain began with unless others are named.
    Dropout is off in all of them. How training goes is said of `Trained`.
    """

    version: ClassVar[int] = 1

    kind: Literal["distill"] = "distill"
    teachers: tuple[Teacher, ...] = ()
    mean: Mean = "geometric"
    """How several teachers' predictions become one; see `losses.soft_targets`."""
    objective: Literal["forward_kl", "reverse_kl"] = "forward_kl"
    text: Literal["calibration", "teacher", "student"] = "calibration"
    """Who wrote what the teachers are heard on."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the divergence; the task loss gets what is left to 1."""
    temperature: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Softens students and teachers alike; the divergence is scaled by its square."""
    hidden: Weight = 0.0
    """Weight of the difference of hidden states."""
    attention: Weight = 0.0
    """Weight of the difference of attention."""
    adapter: Adapter | None = None
    """Train low-rank adapters, which are merged afterwards, and leave all else as it is."""
    generation: Generation | None = None
    """How the text is written, where a teacher or the student writes it."""

    @model_validator(mode="after")
    def _fits(self) -> "Distill":
        inside = self.hidden > 0 or self.attention > 0
        if self.text != "teacher" and self.alpha == 0 and not inside:
            raise ValueError("alpha 0 listens to no teacher; write kind: finetune, or raise it")
        if self.text == "calibration" and self.generation is not None:
            raise ValueError("generation: nobody writes where text is calibration")
        if self.text == "student" and self.written().beams > 1:
            raise ValueError("generation: a student's text is drawn; leave beams out")
        if len(self.teachers) > 1 and (inside or self.text == "teacher"):
            raise ValueError("hidden, attention and text: teacher are of one teacher; name one")
        longest = self.written().prompt_tokens + self.written().new_tokens
        if self.text != "calibration" and longest > self.sequence_length:
            raise ValueError("generation: prompt and new tokens exceed sequence_length")
        return self

    def handed(self, digests: Sequence[str]) -> "Distill":
        """The same settings with teachers that are inputs, named by digest."""
        shares = [t.weight for t in self.teachers] or [1.0] * len(digests)
        named = [Teacher(model=d, weight=w) for d, w in zip(digests, shares, strict=True)]
        return self.model_copy(update={"teachers": tuple(named)})

    def written(self) -> Generation:
        """How text is written."""
        return self.generation or Generation()

    def shares(self) -> Mapping[str, float]:
        """The weight of each part of the loss."""
        return {
            "task_loss": 1 - self.alpha,
            "distillation_loss": self.alpha,
            "hidden_loss": self.hidden,
            "attention_loss": self.attention,
        }

    @property
    def listens(self) -> bool:
        """Whether the teachers are run in each step, so that they need the student's tokens."""
        return self.alpha > 0 or self.hidden > 0 or self.attention > 0

    def apply(self, source: "Source") -> "Applied":
        """Write the trained student.

        Raises:
            SpecError: There is no teacher or too little text, a teacher has other tokens, or
                what is to be compared inside is not there.
            StageError: The loss is no number any more.
        """
        from tasks.compress.adapter import adapt
        from tasks.compress.objective import Objective, projections, require_comparable
        from tasks.compress.teacher import open_teacher
        from tasks.models.folder import weights_digest

        self._require_teachers(source)
        seen: Sequence[Batch] = self.documents(source)
        student = source.load()
        teachers = [open_teacher(folder) for folder in source.teachers]
        said: dict[str, object] = {"teachers": [weights_digest(t) for t in source.teachers]}
        self._require_room(student, teachers)
        if self.text == "teacher":
            seen, more = self._dictated(source, teachers[0])
            said |= more
        if self.listens:
            require_comparable(student, teachers, self, padded(seen[:1]))
        else:
            teachers = []
        if self.adapter is not None:
            factors = adapt(student, self.adapter, keep_zeros=self.keep_zeros, seed=self.seed)
            said["adapter_parameters"] = sum(factor.numel() for factor in factors)
        own = projections(student, teachers[0], self.seed) if self.hidden else []
        loss = Objective(student, teachers, self, own, random.Random(self.seed))
        applied = self.fit(source, student, seen, loss, own)
        return replace(applied, remarks={**applied.remarks, **said})

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, if the teachers fit them.

        Raises:
            SpecError: As `apply`, but for the text.
        """
        from tasks.compress.blocks import linears_of
        from tasks.compress.objective import require_comparable
        from tasks.models.outline import outline

        self._require_teachers(source)
        linears_of(model)
        teachers = [outline(folder) for folder in source.teachers]
        self._require_room(model, teachers)
        rows = [_probed(one) for one in (model, *teachers)]
        if self.listens and rows[0] is not None and None not in rows:
            require_comparable(model, teachers, self, rows[0])
        return model

    def _require_room(
        self, student: "PreTrainedModel", teachers: "Sequence[PreTrainedModel]"
    ) -> None:
        """Refuse who is to write and has too few positions for it."""
        from tasks.compress.generated import require_positions

        if self.text == "student":
            require_positions(student, self.written(), "the student")
        if self.text == "teacher":
            require_positions(teachers[0], self.written(), "the teacher")

    def _require_teachers(self, source: "Source") -> None:
        """Refuse teachers that are not there, are no models, or have other tokens."""
        from tasks.compress.teacher import check_teacher, require_shared_vocabulary

        if not source.teachers or len(source.teachers) != len(self.teachers):
            raise SpecError(
                "method distill: no teacher is given; name one, like "
                '"teachers": ["path/of/a/model"]'
            )
        for folder in source.teachers:
            check_teacher(folder)
            if self.listens:
                require_shared_vocabulary(source.model, folder, source.texts[:8])

    def _dictated(
        self, source: "Source", teacher: "PreTrainedModel"
    ) -> "tuple[Sequence[Batch], dict[str, object]]":
        """Text by the teacher in the student's tokens, kept beside the weights."""
        from tasks.compress.generated import documents, keep, write
        from tasks.compress.teacher import tokenizer_of

        texts = source.texts[: self.samples]
        own = tokenizer_of(source.teachers[0])
        written = write(teacher, own, texts, self.written(), self.seed)
        seen = documents(written, source.tokenizer(), self.sequence_length)
        if not seen:
            raise SpecError(
                "method distill: the teacher ends every text at once; give longer or other "
                "beginnings (prompt_tokens), or another teacher"
            )
        digest = keep(written, source.out / "generated.jsonl")
        return seen, {"generated_documents": len(seen), "generated_sha256": digest}


def _probed(model: "PreTrainedModel") -> Rows | None:
    """Two tokens for an outline, where its family takes its mask as given."""
    from tasks.models.outline import probe

    batch = probe(model)
    if batch is None or "attention_mask" not in batch:
        return None
    return Rows(batch["input_ids"], batch["attention_mask"], batch["input_ids"])
