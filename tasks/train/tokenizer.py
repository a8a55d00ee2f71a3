"""Which pieces of text does the model read?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import StageError
from tasks import dataset
from tasks.job import Job
from tasks.train.settings import TokenizerSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS = "<s>"
EOS = "</s>"


def make_tokenizer(settings: TokenizerSettings, job: Job) -> None:
    """Learn a tokenizer from the dataset's `train` set and save it as a folder.

    `AutoTokenizer.from_pretrained` loads the folder offline. By default an encoded text
    begins with BOS and has no EOS.
    """
    texts = dataset.texts(job.inputs["dataset"].folder, "train")
    learned = train_tokenizer(texts, settings)
    learned.save_pretrained(str(job.out))
    job.note("vocab_size", len(learned))


def train_tokenizer(
    texts: Sequence[str], settings: TokenizerSettings
) -> "PreTrainedTokenizerFast":
    """Learn byte-level BPE; equal texts and settings give an equal tokenizer.

    Digits stand alone, so a number is read figure by figure and no year is one token.
    Text is split into words before digits are split off, as GGUF's "gpt-2" rule does, so
    both read a text alike. A text with few words gives fewer than `vocab_size` tokens.

    Raises:
        StageError: There is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if not any(texts):
        raise StageError("set 'train': there is no text to learn a tokenizer from; add some")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=settings.vocab_size,
            min_frequency=settings.min_frequency,
            special_tokens=[BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        add_bos_token=True,
        add_eos_token=False,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """Load a saved tokenizer folder; nothing is looked up elsewhere."""
    from transformers import AutoTokenizer

    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )
    return loaded
