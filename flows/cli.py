"""The command line: machine output on stdout, talk and progress on stderr, honest exit codes.

0 promoted or done · 1 refused by the gate · 2 wrong run file, policy or command ·
3 a stage failed, even if another candidate was promoted · 4 a registry or evidence that does
not verify.
"""

import json
import os
import sys
import traceback
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from audits.errors import AssayError, NoRoom
from flows.home import Home, find_home, settle, talk
from tasks.room import lacking

app = typer.Typer(
    name="assay",
    help="Train, compress, evaluate, audit and gate small language models on evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    help="The data catalog: source, revision, licence, sha256.", no_args_is_help=True
)
policy_app = typer.Typer(help="Judge a policy before using it.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(policy_app, name="policy")

INTERRUPTED = 130


class Split(StrEnum):
    """Where one document of a text file ends and the next begins."""

    lines = "lines"
    stories = "stories"
    paragraphs = "paragraphs"
    articles = "articles"
    whole = "whole"


Port = Annotated[int, typer.Option(min=1, max=65535)]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Changes = Annotated[
    list[str], typer.Option("--set", metavar="PLACE=VALUE", help="Change the run file: a.b=1")
]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="A run file.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A folder, a GGUF file, a hub id or models:/NAME@ALIAS."
    ),
]
Asked = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A folder, a hub id, models:/NAME@ALIAS, or lm-eval:BACKEND,ARGUMENTS.",
    ),
]
VersionName = Annotated[str, typer.Argument(metavar="NAME/VERSION")]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="A registered model.")]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", help="A dataset folder, or a .yaml file with the data of a run file."
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Ask the model anew: no remembered answer is read or kept."
    ),
]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a person's mistake is one sentence, `--debug` adds the traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    try:
        outcome = app(args=words, prog_name="assay", standalone_mode=False)
    except AssayError as error:
        return _refused(error, debug=debug)
    except (KeyboardInterrupt, typer.Abort):
        outcome = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence against tracebacks
        return _unexpected(error, debug=debug)
    if outcome == INTERRUPTED:  # Typer turns a Ctrl-C into this, without a word
        talk("assay: interrupted; the next run continues where this one stopped")
    return outcome if isinstance(outcome, int) else 0


def _refused(error: AssayError, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    error = _lack(error) or error
    talk(f"assay: {error}")
    return error.exit_code


def _unexpected(error: Exception, *, debug: bool) -> int:
    # Typer brings its own copy of click or uses the installed one; this base is right in both.
    usage = typer.BadParameter.__bases__[0]
    if isinstance(error, usage):
        said = error.format_message().rstrip(".")  # type: ignore[attr-defined] # click's
        if said:  # none where no command was given: the help has been shown
            talk(f"assay: {said}; see `assay --help`")
        return 2
    if lack := _lack(error):
        return _refused(lack, debug=debug)
    if debug:
        traceback.print_exc()
    talk(f"assay: {type(error).__name__}: {error} (run again with --debug for the traceback)")
    return 3


def _lack(error: Exception) -> NoRoom | None:
    """Whether a full disk is behind it; where the home is nowhere, that is not asked."""
    try:
        return lacking(find_home().root, error)
    except (AssayError, OSError):
        return None


def _home(no_cache: bool = False) -> Home:
    home = replace(find_home(), keeps_scores=not no_cache)
    settle(home)
    return home


def _print(document: object) -> None:
    typer.echo(json.dumps(document, indent=1, sort_keys=False, default=str))


@app.command()
def run(
    spec: SpecFile,
    set_: Changes = [],  # noqa: B006
    no_cache: NoCache = False,
    as_json: Json = False,
) -> int:
    """Run the pipeline: exit 0 if a candidate is promoted, 1 if the gate refuses all.

    Exit 3 if a stage failed: the other candidates are finished first, and one may be promoted.
    """
    home = _home(no_cache)
    from flows.closing import closing
    from flows.failing import complain
    from flows.running import run_pipeline

    outcome = run_pipeline(spec, set_, home)
    if as_json:
        _print(outcome["answer"])
    else:
        typer.echo(closing(outcome))
    complain(outcome)
    return 0 if outcome["promoted"] else 1


@app.command()
def check(
    spec: SpecFile,
    set_: Changes = [],  # noqa: B006
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Try variants on shapes, as a run first does.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Validate a run file and its policy before any compute."""
    from flows.checking import check_spec

    return _answer(check_spec(spec, set_, find_home(), rehearse=rehearse), as_json)


@app.command()
def train(
    spec: SpecFile,
    set_: Changes = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Copy the model here.")] = None,
    as_json: Json = False,
) -> int:
    """Make the data and the base model of a run file, and nothing else."""
    home = _home()
    from flows import single

    return _answer(single.train(spec, set_, home, out), as_json)


@app.command()
def compress(
    model: Model,
    method: Annotated[str, typer.Option(help='JSON, like \'{"kind": "rtn", "bits": 8}\'')],
    out: Annotated[Path, typer.Option(help="Where the compressed model goes.")],
    data: DataFolder = None,
    as_json: Json = False,
) -> int:
    """Compress a model by one method."""
    home = _home()
    from flows import single

    return _answer(single.compress(model, method, out, data, home), as_json)


@app.command()
def evaluate(
    model: Asked,
    tasks: Annotated[str, typer.Option(help="lm-eval tasks by name, separated by commas.")],
    include_path: Annotated[Path | None, typer.Option(help="Folder of task files.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples per task.")] = None,
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Worked examples.")] = None,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Ask in conversation.")
    ] = False,
    fewshot_as_multiturn: Annotated[
        bool, typer.Option(help="In conversation, each worked example is a turn.")
    ] = True,
    system_instruction: Annotated[
        str | None, typer.Option(help="Stands before each question.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of worked examples and sampling.")] = 0,
    data: DataFolder = None,
    no_cache: NoCache = False,
    as_json: Json = False,
) -> int:
    """Run lm-eval tasks on a model and print lm-eval's own table."""
    home = _home(no_cache)
    from flows import single

    asked = {
        "tasks": tuple(name for task in tasks.split(",") if (name := task.strip())),
        "limit": limit,
        "num_fewshot": num_fewshot,
        "apply_chat_template": apply_chat_template,
        "fewshot_as_multiturn": fewshot_as_multiturn,
        "system_instruction": system_instruction,
        "seed": seed,
        "include_path": str(include_path) if include_path else None,
    }
    return _answer(single.evaluate(model, asked, data, home), as_json)


@app.command()
def audit(
    model: Asked,
    audits: Annotated[list[str], typer.Argument(metavar="AUDIT…", help="Kinds of audits.")],
    data: DataFolder = None,
    controls: Annotated[
        Path | None,
        typer.Option(
            help="A run file that trains: audit also its twins that were told otherwise."
        ),
    ] = None,
    seed: int = 0,
    no_cache: NoCache = False,
    as_json: Json = False,
) -> int:
    """Run audits on a model with the sets of a dataset."""
    home = _home(no_cache)
    from flows import single

    return _answer(single.audit(model, audits, data, seed, home, controls), as_json)


@app.command()
def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model it was made from.")],
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="The model to look at.")],
    text: Annotated[
        Path | None, typer.Option(help="A .txt or .jsonl file; else --data's held-out set.")
    ] = None,
    split: Annotated[
        Split, typer.Option(help="What a document of a .txt file is: the unit of intervals.")
    ] = Split.paragraphs,
    tasks: Annotated[str, typer.Option(help="lm-eval tasks, separated by commas.")] = "",
    audits: Annotated[
        str, typer.Option(help="Audits with right answers (closed_world), on --data.")
    ] = "",
    include_path: Annotated[Path | None, typer.Option(help="Folder of task files.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many documents, and questions a task.")
    ] = None,
    data: DataFolder = None,
    no_cache: NoCache = False,
    as_json: Json = False,
) -> int:
    """Say what changes from a model to its variant: word by word, and answer by answer."""
    home = _home(no_cache)
    from flows import comparing

    asked = comparing.Asked(
        text=text,
        split=split.value,
        tasks=tuple(name for name in tasks.split(",") if name),
        audits=tuple(kind for kind in audits.split(",") if kind),
        include_path=include_path,
        limit=limit,
        data=data,
    )
    return _answer(comparing.compare(base, variant, asked, home), as_json)


@app.command()
def profile(model: Model, as_json: Json = False) -> int:
    """Measure size, first-token and inter-token latency, throughput and peak memory."""
    home = _home()
    from flows import single

    return _answer(single.profile(model, home), as_json)


@app.command()
def report(
    version: VersionName,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    as_json: Json = False,
) -> int:
    """Write one self-contained HTML file about a registered version."""
    home = _home()
    from flows import reviewing

    return _answer(reviewing.report(version, out, home), as_json)


@app.command()
def export(
    version: Annotated[str, typer.Argument(metavar="NAME/VERSION|NAME@ALIAS")],
    out: Annotated[Path, typer.Option(help="A new or empty folder to write.")],
    modelfile: Annotated[
        bool, typer.Option("--modelfile", help="Beside a GGUF file, what Ollama needs.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Write a version as a Hugging Face folder: its model files, and a README with the card."""
    home = _home()
    from flows import exporting

    return _answer(exporting.export(version, out, home, ollama=modelfile), as_json)


@app.command()
def reproduce(
    version: VersionName,
    seed: Annotated[
        int | None, typer.Option(help="Train with another seed: what does chance do?")
    ] = None,
    as_json: Json = False,
) -> int:
    """Make a version again from its stored run file: identical, within noise, or differs."""
    home = _home()
    from flows import reviewing

    return _answer(reviewing.reproduce(version, home, seed), as_json)


@app.command()
def promote(
    version: VersionName,
    policy: Annotated[
        Path | None, typer.Option(help="Judge by this policy, not by the one of last time.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Who wants it; needed after a rollback from it.")
    ] = "gate",
    as_json: Json = False,
) -> int:
    """Judge a version again on stored evidence and make it champion: exit 1 if refused."""
    home = _home()
    from flows import governing

    return _answer(governing.promote(version, policy, home, by=by), as_json)


@app.command()
def approve(
    version: VersionName,
    by: Annotated[str, typer.Option(help="Who approves.")],
    note: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    as_json: Json = False,
) -> int:
    """Put on record that a person approves exactly these weights."""
    home = _home()
    from flows import governing

    return _answer(governing.approve(version, by, note, home), as_json)


@app.command()
def rollback(
    name: ModelName,
    by: Annotated[str, typer.Option(help="Who decides it.")],
    to: Annotated[
        str | None, typer.Option(help="An earlier champion; the one before if not given.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    as_json: Json = False,
) -> int:
    """Make an earlier champion champion again."""
    home = _home()
    from flows import governing

    return _answer(governing.rollback(name, to, by, note, home), as_json)


@app.command()
def history(
    name: ModelName,
    sign: Annotated[
        bool,
        typer.Option("--sign", help="Vouch with ASSAY_SIGNING_KEY for all that stands in it."),
    ] = False,
    as_json: Json = False,
) -> int:
    """Everything that was decided about a model, oldest first."""
    home = _home()
    from flows import governing

    return _answer(governing.history(name, home, sign=sign), as_json)


@app.command()
def verify(
    version: Annotated[str, typer.Argument(metavar="NAME[@ALIAS|/VERSION]")],
    key: Annotated[
        Path | None,
        typer.Option(envvar="ASSAY_VERIFY_KEY", help="Public key of who signs (PEM)."),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(help="Your file that remembers the history's head; made where absent."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="The policy it must rest on.")] = None,
    as_json: Json = False,
) -> int:
    """Recompute all that a version and its promotion rest on: exit 4 where it differs."""
    home = _home()
    from flows import governing

    found = governing.verify(version, key, home, head=head, policy=policy)
    return _answer(found, as_json)


@app.command()
def serve(
    file: Annotated[Path, typer.Option(help="Deployment file.")] = Path("infra/prefect.yaml"),
    host: str = "127.0.0.1",
    port: Port = 4200,
) -> int:
    """Start a Prefect server and run the scheduled run files by themselves."""
    # Nobody watches a scheduled run, so its log is where its failures are found.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    home = _home()
    from flows.serve import serve as start

    start(file, home, host=host, port=port)
    return 0


@app.command()
def ui(host: str = "127.0.0.1", port: Port = 5000) -> int:
    """Open the MLflow UI over this installation's registry."""
    home = _home()
    from flows.machine import mlflow_ui

    return mlflow_ui(home, host, port)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Say what this machine can and cannot do."""
    home = _home()
    from flows.machine import examine

    return _answer(examine(home), as_json)


@data_app.command("list")
def data_list(as_json: Json = False) -> int:
    """List the data catalog and what of it is on this machine."""
    from flows.machine import list_data

    return _answer(list_data(find_home()), as_json)


@data_app.command("fetch")
def data_fetch(name: str, as_json: Json = False) -> int:
    """Fetch a set of the catalog into the cache; a differing checksum is an error."""
    home = _home()
    from flows.machine import fetch_data

    return _answer(fetch_data(name, home), as_json)


@policy_app.command("lint")
def policy_lint(
    file: Annotated[Path, typer.Argument()],
    spec: Annotated[Path | None, typer.Option(help="Check measures against this run.")] = None,
    as_json: Json = False,
) -> int:
    """Say what is wrong with a policy before using it."""
    from flows.checking import lint_policy

    return _answer(lint_policy(file, spec, find_home()), as_json)


@policy_app.command("backtest")
def policy_backtest(
    file: Annotated[Path, typer.Argument()], name: ModelName, as_json: Json = False
) -> int:
    """Replay a policy over the stored evidence of every version; no model is run."""
    home = _home()
    from flows import governing

    return _answer(governing.backtest(file, name, home), as_json)


def _answer(answer: "tuple[dict[str, Any], str]", as_json: bool) -> int:
    """Print the document or the text; a document may carry its own exit code."""
    document, text = answer
    if as_json:
        _print({k: v for k, v in document.items() if k != "exit"})
    else:
        typer.echo(text)
    code = document.get("exit", 0)
    return code if isinstance(code, int) else 0
